// Finds before a run what would be an error of a contract gate in it.
#pragma once

#include "cd4ml/ports/contract_checker.h"
#include "cd4ml/ports/grpc_client.h"
#include "cd4ml/ports/json_schema.h"
#include "cd4ml/ports/pipeline_parser.h"

namespace cd4ml::agent {

// Reads the files as contract gates read them. `parser` outlives what is returned.
ContractChecker MakeContractChecker(const PipelineParser& parser, SchemaCompiler compile, GrpcConnector connect);

}  // namespace cd4ml::agent
