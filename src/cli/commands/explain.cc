// `cd4ml explain`: what the code of a finding means.
#include "cd4ml/base/text.h"
#include "cd4ml/core/diagnostic.h"
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

int Perform(Invocation& invocation) {
  const std::string code = invocation.arguments.One("CODE");
  if (const core::CodeExplanation* found = core::ExplainCode(code)) {
    invocation.out.Line(std::string(found->code) + ": " + std::string(found->title) + "\n");
    for (const std::string& line :
         Wrap(found->explanation, std::min<size_t>(80, invocation.out.width()))) {
      invocation.out.Line(line);
    }
    return kExitOk;
  }
  std::vector<std::string> codes;
  for (const core::CodeExplanation& known : core::AllCodes()) codes.emplace_back(known.code);
  return invocation.Fail(
      absl::NotFoundError("there is no code \"" + code + "\"" + DidYouMean(code, codes)));
}

}  // namespace

Command Explain() {
  return {.path = "explain",
          .group = "Pipelines",
          .summary = "explain the code of a finding",
          .examples = {"explain CD0121"},
          .operands = {{"CODE", "a code, like CD0121"}},
          .perform = Perform};
}

}  // namespace cd4ml::cli
