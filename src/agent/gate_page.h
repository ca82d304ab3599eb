// The page of an attempt's verdict, kept beside the attempt's outputs.
#pragma once

#include "agent/attempt.h"
#include "cd4ml/core/gate_report.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml::agent {

// Stores the report of `outcome`'s verdict as its output kGateReportOutput; an outcome without a verdict is left alone,
// and so is one whose stage declares an output of that name. That a page could not be stored is said in the log and
// changes nothing: the verdict is the record.
void AttachGatePage(const Attempt& attempt, const core::StageSpec& stage, core::GateEvidence evidence,
                    core::Outcome& outcome);

}  // namespace cd4ml::agent
