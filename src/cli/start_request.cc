// Parameters are text here; the daemon knows their types.
#include "cli/start_request.h"

namespace cd4ml::cli {

std::vector<Option> StartOptions() {
  return {{"--lane", "NAME", "lane of the run; without it: production"},
          {"--ref", "REF", "branch, tag or commit; without it: the registered branch"},
          {"-p,--param", "K=V", "override a parameter, like train.max_depth=8", /*repeats=*/true}};
}

absl::StatusOr<StartRequest> ReadStartRequest(const Invocation& invocation,
                                              const std::string& pipeline) {
  StartRequest request;
  request.pipeline = pipeline;
  request.lane = invocation.arguments.One("lane");
  request.ref = invocation.arguments.One("ref");
  request.by = invocation.ports.user;
  for (const std::string& pair : invocation.arguments.Many("param")) {
    const size_t equals = pair.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return absl::InvalidArgumentError("--param wants NAME=VALUE, like train.max_depth=8, not \"" +
                                        pair + "\"");
    }
    if (!request.params.emplace(pair.substr(0, equals), pair.substr(equals + 1)).second) {
      return absl::InvalidArgumentError("parameter \"" + pair.substr(0, equals) +
                                        "\" is given twice");
    }
  }
  return request;
}

}  // namespace cd4ml::cli
