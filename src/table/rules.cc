// Takes a rule to the function of its form, and sees that what could not be judged says why.
#include "table/rules.h"

#include "cd4ml/base/status.h"

namespace cd4ml::table {

core::RuleResult JudgeRule(const Case& it) {
  const Judged result = std::visit(
      [&](const auto& body) -> Judged {
        if constexpr (requires { body.of; }) {
          return Judge(it, body);
        } else {
          return absl::InvalidArgumentError("a rule of the form \"" +
                                            std::string(core::RuleForm(it.rule.body)) +
                                            "\" is not about a table");
        }
      },
      it.rule.body);
  return result.ok() ? *result
                     : core::CannotJudge(it.rule, SubjectOf(it.rule), Message(result.status()));
}

}  // namespace cd4ml::table
