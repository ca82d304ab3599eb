// What performs each stage kind. An executor runs on its attempt's thread, may wait as long as it
// likes, and returns how the attempt ended; when the agent itself ends meanwhile, whatever it
// returns is thrown away.
#pragma once

#include "agent/attempt.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml::agent {

// command, train, package, data_gate, model_gate: an optional command and, for gates, rules.
core::Outcome PerformCommand(Attempt& attempt, const core::PipelineSpec& pipeline,
                             const core::StageSpec& stage);

// contract_gate: the package as a service, judged by what it answers.
core::Outcome PerformContractGate(Attempt& attempt, const core::PipelineSpec& pipeline,
                                  const core::StageSpec& stage);

// deploy: a package becomes what an environment runs, by a service or by hooks.
core::Outcome PerformDeploy(Attempt& attempt, const core::PipelineSpec& pipeline,
                            const core::StageSpec& stage);

// Runs one command of a stage in `dir` to its end, its output going to the attempt's log. `role`
// tells several commands of one attempt apart.
core::Outcome RunCommand(Attempt& attempt, const core::StageSpec& stage,
                         const core::CommandSpec& command, std::string_view role,
                         const std::string& dir, const std::map<std::string, std::string>& env);

// The same for what has to be done although the attempt was cancelled.
core::Outcome RunRegardless(Attempt& attempt, const core::StageSpec& stage,
                            const core::CommandSpec& command, std::string_view role,
                            const std::string& dir,
                            const std::map<std::string, std::string>& env);

// Returns the outcome of a gate with this verdict; rules that somebody overrides do not block, which the log says, too.
core::Outcome OutcomeOf(const Attempt& attempt, core::Verdict verdict);

// Writes a verdict into the attempt's log, a line for each rule.
void SayVerdict(const Attempt& attempt, const core::Verdict& verdict);

}  // namespace cd4ml::agent
