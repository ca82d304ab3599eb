// Verdicts that a stage's own command has found, as rule results: cd4ml's own form, JUnit XML, and what Great
// Expectations, pandera and Evidently write.
//
// What cannot be understood, and what names nothing that was tested, is an error result: a file that says nothing has
// passed nothing. All results are bounded in number and size, whatever the file holds.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cd4ml/base/value.h"
#include "cd4ml/core/pipeline.h"
#include "cd4ml/core/verdict.h"

namespace cd4ml::core {

// One element of an XML document, as an adapter has read it.
struct XmlElement {
  std::string name;                    // Without a prefix of a namespace.
  std::map<std::string, std::string, std::less<>> attributes;
  std::string text;                    // Its own, cut.
  std::vector<XmlElement> children;
};

// The most results that are told one by one; of more, those that block come first.
constexpr size_t kOwnResultsMax = 200;
// The most bytes of one text that a command has written.
constexpr size_t kOwnTextMax = 500;

// Returns the word that the language has for a kind: "exit_code", "junit", ...
std::string_view ToText(VerdictSpec::Kind kind);

// Reads a result file of any kind that is JSON. REQUIRES: `kind` is neither kExitCode nor kJunit.
std::vector<RuleResult> ReadOwnVerdict(VerdictSpec::Kind kind, const Value& value);

// Reads a JUnit XML report; a result for each test suite that holds tests itself.
std::vector<RuleResult> ReadJunit(const XmlElement& root);

// Judges a command by its exit code. `last_lines` are what it printed last.
RuleResult JudgeExitCode(int exit_code, std::vector<std::string> last_lines);

// Returns the result of a verdict that cannot be read; `why` is a sentence.
RuleResult UnreadableVerdict(VerdictSpec::Kind kind, const std::string& subject, std::string why);

// Adds `own` to the results of the gate's rules under names that are not taken.
void AddOwnResults(std::vector<RuleResult> own, std::vector<RuleResult>& results);

}  // namespace cd4ml::core
