// Showing findings, and what each code means.
#include "cd4ml/core/diagnostic.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>

#include "cd4ml/base/text.h"

namespace cd4ml::core {
namespace {

// Longer lines are shown as a window: a definition in JSON is one line of any length.
constexpr int kSnippetMax = 160;
constexpr int kQuotedMax = 80;
constexpr int kMessageMax = 500;
constexpr int kBeforeCaret = 60;
constexpr std::string_view kCut = "…";

constexpr CodeExplanation kCodes[] = {
    {code::kTooLarge, "file is too large",
     "A definition has at most 8 MiB, and so has a parameter file. Move data out of it."},
    {code::kNotUtf8, "text is not UTF-8",
     "Definitions are read as UTF-8 and as nothing else. Save the file in UTF-8; `iconv -f "
     "windows-1252 -t utf-8` converts it."},
    {code::kControlCharacter, "control character",
     "Control characters (NUL, ESC, a bare CR, marks that reverse the direction of text) can hide "
     "what a file says. Remove the character; write it inside the program that needs it."},
    {code::kByteOrderMark, "byte order mark",
     "The file begins with a byte order mark, or is UTF-16. Save it as UTF-8 without a mark."},
    {code::kBadIndentation, "indentation with something else than spaces",
     "YAML indents with spaces. A tab or a no-break space looks the same and means something "
     "different. Replace it by spaces."},
    {code::kUnclosed, "quote or bracket is not closed",
     "A quoted text, a list in [ ] or a map in { } that is opened must be closed, by its own "
     "kind."},
    {code::kEmptyEntry, "empty entry between commas",
     "A list like [a,,b] or [,a] has an entry without a value. Remove the comma, or write the "
     "value."},
    {code::kDirective, "directive or reserved character",
     "Lines that begin with % are directives of YAML, which definitions do not need; @ and ` begin "
     "no text. Put the text in quotes."},
    {code::kMoreDocuments, "more than one document",
     "A file holds one definition. Text after `...`, or after a second `---`, would be read by "
     "nobody. Move it to a file of its own."},
    {code::kAnchor, "anchor or alias",
     "Anchors (&name) and aliases (*name) are not part of the language: they make a file mean "
     "something else than it shows. Use `defaults`, or a text in quotes when it begins with & or "
     "*."},
    {code::kTag, "tag",
     "Tags (!name) are not part of the language; the type of a value is what it looks like. Put a "
     "text that begins with ! in quotes."},
    {code::kMergeKey, "merge key",
     "The merge key << is not part of the language. Use `defaults`, or write the keys out."},
    {code::kDuplicateKey, "duplicate key",
     "A map has each key once: of two, readers would keep the first or the last as they like. "
     "Remove "
     "one, or rename it."},
    {code::kTooDeep, "nested too deeply", "Lists and maps nest at most 32 levels deep."},
    {code::kTooManyValues, "too many values",
     "A file has at most 600,000 values, which is enough for 10,000 stages."},
    {code::kNotYaml, "not valid YAML",
     "The text around the caret cannot be read. Most often the indentation differs from the lines "
     "above, a \": \" stands in a text without quotes, or a comma is missing."},
    {code::kKeyNotText, "key is not a text",
     "Keys are plain words. Lists, maps, empty keys and keys after `? ` are not used."},
    {code::kAmbiguous, "text that YAML readers read differently",
     "Readers of YAML disagree on this text, so that a program and the record could be told two "
     "things. Write true, false or null, or put the text in quotes."},
    {code::kEmptyFile, "empty file",
     "The file has no content. The smallest definition has `format: 1`, `pipeline: NAME` and one "
     "stage with `run`."},
    {code::kTooManyFindings, "too many findings",
     "Only the first 100 findings of a file are shown. Mend these and look again."},

    {code::kFormat, "format is missing or unknown",
     "Every definition says `format: 1`, so that later versions of cd4ml know how it is meant."},
    {code::kMissingKey, "key is missing", "This part needs a key that it does not have. Add it."},
    {code::kWrongType, "value of the wrong type",
     "The key wants another kind of value. Booleans are true and false only, numbers are written "
     "as "
     "in JSON, a number in quotes is text, and text that looks like a number needs quotes."},
    {code::kBadName, "bad name",
     "Names begin with a letter or digit and go on with lower-case letters, digits, - and _, at "
     "most "
     "63 in all. Parameters may also have upper-case letters, and dots between their parts."},
    {code::kBadWord, "unknown word", "The key allows only the listed words."},
    {code::kBadUnit, "bad duration or size",
     "Durations are a whole number and a unit: 250ms, 30s, 10m, 4h, 7d. Sizes likewise: 512B, "
     "64KiB, "
     "512MiB, 4GiB, 1TiB. Units avoid the question whether 30 means seconds or minutes."},
    {code::kOutOfRange, "number out of range", "The number is outside of what the key allows."},
    {code::kEmpty, "empty value",
     "The list, map or text must not be empty here. Fill it, or remove the key."},
    {code::kConflict, "keys that exclude each other",
     "Exactly one of these keys says what is meant; with both or none it is unclear."},
    {code::kSameVariable, "two names give the same variable",
     "Names become variables in capital letters with - written as _, so a-b and a_b would both be "
     "A_B. Rename one."},
    {code::kReservedVariable, "reserved variable",
     "cd4ml sets this variable for every stage: CD4ML_IN_*, CD4ML_OUT_*, CD4ML_PARAM_* and those "
     "that "
     "the reference lists. Other CD4ML_ variables are free. Choose another name."},
    {code::kBadPath, "bad path",
     "Paths are relative to the work directory and stay inside it: no leading /, no .. and not "
     "empty."},
    {code::kBadDefault, "default does not fit its schema",
     "The default of a parameter has the type, the bounds and the values that its schema demands."},
    {code::kTimesContradict, "times that contradict each other",
     "One of the two could never be reached: a stage cannot be silent for longer than it may run "
     "(`silence_timeout`, `timeout`), all of its attempts together are not shorter than one "
     "(`timeout`, `total_timeout`), and waiting before a retry grows up to `backoff_max`."},
    {code::kBadSource, "data cannot come from there",
     "Data is a path, or a file://, http://, https:// or s3:// URL; `dvc` names a .dvc file or a dvc.lock of the "
     "repository. Credentials belong to the daemon, never to a definition; see docs/data.md."},
    {code::kBadRuntime, "a runtime that is not pinned",
     "A runtime says exactly what a stage runs with: `python: \"3.11\"` with a lock file, `image: NAME@sha256:…` "
     "with a digest, or `setup` with the files that it reads. A tag, or a range of versions, may be something else "
     "tomorrow."},
    {code::kNotPinned, "a stage without a pinned runtime",
     "The stage runs with whatever the host of its agent has. That is recorded, but nobody can build it again. Say "
     "`runtime:` in the stage or in `defaults`; `runtime: host` says that it is meant to be so."},
    {code::kUnknownKey, "unknown key",
     "No key of that name exists here. Misspelt keys are errors, because a key that is ignored "
     "silently is worse. The allowed keys are listed."},
    {code::kKeyOfOtherKind, "key of another kind of stage",
     "The key exists, but not in stages of this kind. Change `kind`, or move the key to the stage "
     "that it belongs to."},
    {code::kRuleForm, "rule without a form, or with two",
     "A rule says one thing: exactly one key, like `rows`, `column` or `metric`, names its form."},
    {code::kGateWithoutRules, "gate without rules",
     "A gate that demands nothing lets everything pass. Add `rules`, or `verdict` where its command "
     "judges, or make it a `command` stage."},
    {code::kRuleOfOtherGate, "rule of another gate",
     "Data rules stand in a data_gate, model rules in a model_gate, contract rules in a "
     "contract_gate."},
    {code::kNoBound, "rule that bounds nothing",
     "The rule would always pass. Add `min`, `max` or another demand."},
    {code::kBadMatrix, "matrix without a meaning",
     "A matrix lists different single values of parameters: `train.depth: [8, 12]`. Every combination, at most 1,000, is a cell, "
     "but for those that `exclude` takes out; one must be left."},

    {code::kUnknownStage, "unknown stage", "The definition has no stage of that name."},
    {code::kUnknownOutput, "unknown output",
     "The stage exists but declares no output of that name."},
    {code::kUnknownSource, "unknown material or output",
     "An input comes from a material, by its name, or from another stage, as `stage.output`."},
    {code::kCycle, "stages wait for each other",
     "The path that is shown leads back to its beginning, so none of these stages could ever "
     "start. "
     "Remove one `needs` or one input."},
    {code::kSamePath, "two outputs or inputs at one path",
     "Two stages may not write one path, nor one below the other's folder, and two inputs of a "
     "stage "
     "may not lie at one place: the later would overwrite the earlier."},
    {code::kWrongOutputType, "output of the wrong type",
     "A package must be an output of type deployable, a probe one of type probe_set."},
    {code::kUnknownEnvironment, "unknown environment",
     "Deploys, monitors and champions name an entry of `environments`."},
    {code::kMonitorWithoutDeploy, "monitor without a deploy",
     "A monitor is armed by the deploy that it needs: name a deploy stage of the same environment "
     "in `needs`."},
    {code::kUnknownSubject, "rule about something unknown",
     "`of`, `share_of`, `references` and `disjoint_from` name an output or input of the same stage, or a material. Where a "
     "rule lists `exactly` the columns of a table, the other rules name columns of this list."},
    {code::kUnknownCheck, "unknown check",
     "`on_breach` names checks of the same monitor that are not of severity warn."},
    {code::kUnknownMonitor, "unknown monitor",
     "`triggers.monitor.stage` names a stage of kind monitor."},
    {code::kRetrainNotTriggered, "retrain without its trigger",
     "A monitor retrains only when the file says so at the top too: `triggers: {monitor: {stage: "
     "NAME}}`."},
    {code::kUnknownSlice, "unknown slice",
     "A rule by slice names a column of `predictions.slices`, or the `slice` of a metrics file."},
    {code::kUnknownBaseline, "unknown baseline",
     "Data is compared with `champion.train_data` or, where a data gate reads it or makes it as a dataset, with `last_accepted` or a run, `run:ID`; a "
     "statistic also with the `rest` of its table. A metric is compared with `champion`, `last_passed` or a run: `run:ID`. A monitor "
     "compares with `train_data`."},
    {code::kTooManyStages, "too many stages", "A pipeline has at most 10,000 stages."},
    {code::kTooManyEdges, "too many edges",
     "The needs and inputs of all stages together are at most 100,000."},
    {code::kUnknownParameter, "unknown parameter",
     "The schema has no parameter of that name. With a schema, everything that the definition "
     "refers "
     "to stands in it."},
    {code::kLaneMayNotDiffer, "parameters of a lane that may not differ",
     "With `overrides: experiment`, only runs of the experiment lane may have other parameters "
     "than "
     "the files."},
    {code::kPolicy, "a gate that the server requires is missing",
     "The operator of the daemon requires gates of this pipeline (docs/gates.md): every deploy must wait for a gate of "
     "the kind that blocks and looks at what is deployed. Add the gate, and let the deploy need it, directly or through "
     "other stages that do not run after failures."},
    {code::kNoWinner, "output of a stage with several cells",
     "The stage has a matrix, so each of its cells makes that output. `select: {metric: NAME}` in the matrix says which cell "
     "is meant: the one with the best value. Without it, other stages may need the stage, but take nothing from it."},
    {code::kUnknownMetric, "unknown metric",
     "`select` names a metric that the stage writes, so the stage has `metrics`."},

    {code::kBadContract, "contract that cannot be used",
     "A contract gate names a file of the repository that is not there, cannot be read as what it says it is, or uses what cd4ml "
     "does not check; in a run its rule would be an error. As a warning: an answer may have any body, so the contract asks for less "
     "than it seems to. Paths are relative to the top of the repository; `cd4ml lint` looks for the files in the checkout around the "
     "pipeline's file, or beside it."},
    {code::kBadExpression, "bad expression",
     "Expressions know or, and, not, comparisons, + - * /, parentheses, numbers, 'text', true, "
     "false, "
     "names with dots and calls."},
    {code::kTemplateInRun, "expression in a command",
     "Commands never contain ${{ }}, because a value could then become code. Put the value into "
     "`env` "
     "and use the variable: `env: {LANE: \"${{ run.lane }}\"}`, `run: echo \"$LANE\"`."},
    {code::kTemplateNotHere, "expression where none may stand",
     "Expressions stand in values: texts, numbers, paths, durations, conditions. Kinds, names and "
     "references are written out, so that the graph can be seen before a run."},
    {code::kUnknownName, "unknown name in an expression",
     "Expressions know `params.NAME` and `run.NAME`; request and answer of a probe know "
     "`row.NAME`."},
    {code::kExpressionValue, "expression without a usable value",
     "The expression was evaluated, but failed, or gave a value of another type than the key "
     "wants."},
    {code::kUnknownFunction, "unknown function in an expression",
     "Conditions know always(), passed('stage') and failed('stage'); the stage must be among "
     "`needs` "
     "or be the producer of an input."},
    {code::kBadCondition, "bad condition",
     "`if` is one expression: `if: \"${{ run.lane == 'production' }}\"`."},

    {code::kNoTrigger, "this trigger is not available yet",
     "Runs are started over gRPC and the command line, and by a monitor. Call `cd4ml run start` "
     "from "
     "a hook of the repository or from a timer."},
    {code::kNoRoles, "roles are not available yet", "Whoever reaches the daemon may start runs."},
    {code::kNoForEach, "for_each is not available yet", "Write the stages, or the pipelines, out."},
    {code::kNoSecrets, "secrets are not available yet", "The agent's host must hold them for now."},
    {code::kNoReference, "keeping only the reference to data is not available yet",
     "The bytes of data are always kept."},
    {code::kNoApproval, "approval is not available yet",
     "What passes its gates is deployed. Use `approval: never`, or leave the key out."},
    {code::kNoWindows, "windows for deploys are not available yet",
     "A deploy starts when it is ready."},
    {code::kNoUnlocked, "environments without lock are not available yet",
     "Every deploy locks its environment."},
    {code::kNoStrategy, "this strategy is not available yet",
     "The one strategy is `replace`: the new package takes the place of the old one, which comes "
     "back when the new one does not become ready."},
    {code::kNoHook, "this hook is not available yet",
     "Deploys have the hooks `apply` and `rollback`."},
    {code::kNoKeep, "keeping earlier deployments is not available yet",
     "Packages of earlier deployments stay in the artifact store."},
    {code::kNoSbom, "a bill of materials is not available yet",
     "Make it in the stage's command and declare it as an output of type report."},
    {code::kNoPlots, "plots are not available yet",
     "Declare the file as an output of type report: it is kept with the run."},
    {code::kNoReproducible, "reproducible is not available yet",
     "Runs record what is needed to repeat them; nothing compares a repetition yet."},
    {code::kNoGroundTruth, "joining ground truth is not available yet",
     "Monitors look at the inputs of predictions and at their number."},
    {code::kNoMonitorMetric, "this metric of a monitor is not available yet",
     "Monitors know the metric `requests`, and drift of columns."},
    {code::kNoPredictionSource, "this source of predictions is not available yet",
     "Predictions come over grpc, or as jsonl from the file $CD4ML_PREDICTIONS."},
    {code::kNoBreachAction, "this answer to a breach is not available yet",
     "A breach can retrain. `cd4ml rollback` is for people."},
    {code::kNoRetention, "retention is not available yet", "Everything is kept."},
    {code::kNoNotify, "notifications are not available yet",
     "`cd4ml run watch` and its exit code tell how a run ended."},
};

// Returns the characters of `line` before byte `column`.
int CountCharacters(std::string_view line, int column) {
  const std::string_view before = line.substr(0, std::min<size_t>(column, line.size()));
  return static_cast<int>(std::count_if(before.begin(), before.end(), [](char c) {
    return (static_cast<uint8_t>(c) & 0xC0) != 0x80;
  }));
}

// Returns `line` from its character `skip` on, at most `count` characters.
std::string_view CutCharacters(std::string_view line, int skip, int count) {
  const auto advance = [&](size_t at, int characters) {
    while (at < line.size() && characters > 0) {
      ++at;
      if (at == line.size() || (static_cast<uint8_t>(line[at]) & 0xC0) != 0x80) --characters;
    }
    return at;
  };
  const size_t begin = advance(0, skip);
  return line.substr(begin, advance(begin, count) - begin);
}

// Replaces what must not reach a terminal. One character stays one character.
std::string Printable(std::string_view line) {
  const bool is_utf8 = IsUtf8(line);
  std::string out;
  for (size_t i = 0; i < line.size(); ++i) {
    const auto byte = static_cast<uint8_t>(line[i]);
    if (byte == '\t') {
      out.push_back(' ');
    } else if (byte < 0x20 || byte == 0x7F || (!is_utf8 && byte >= 0x80)) {
      out.push_back('?');
    } else if (byte == 0xC2 && static_cast<uint8_t>(line[i + 1]) < 0xA0) {
      out.push_back('?');
      ++i;
    } else {
      out.push_back(line[i]);
    }
  }
  return out;
}

// Returns `text` safe to print and at most `max` characters long.
std::string Shown(std::string_view text, int max = kMessageMax) {
  const std::string_view shown =
      CutCharacters(text.substr(0, 4 * static_cast<size_t>(max)), 0, max);
  return Printable(shown) + std::string(shown.size() < text.size() ? kCut : "");
}

// Fills snippet and columns of one finding on `line`.
void Show(std::string_view line, Diagnostic& finding) {
  Place& place = finding.place;
  const int begin = CountCharacters(line, place.column - 1);
  const int end = CountCharacters(line, place.column - 1 + std::max(place.length, 1));
  place.column = begin + 1;
  place.length = std::max(1, end - begin);
  const int skip = begin > kSnippetMax ? begin - kBeforeCaret : 0;
  finding.snippet =
      (skip > 0 ? std::string(kCut) : "") + Printable(CutCharacters(line, skip, kSnippetMax));
}

// Returns where the caret stands in the snippet: what Show did with the column, told from it alone.
int CaretColumn(const Diagnostic& finding) {
  const int begin = finding.place.column - 1;
  return begin > kSnippetMax ? kBeforeCaret + 1 : begin;
}

std::string Where(const Diagnostic& finding) {
  if (finding.place.line == 0) return finding.file;
  return finding.file + ":" + std::to_string(finding.place.line) + ":" +
         std::to_string(finding.place.column);
}

}  // namespace

Diagnostic MakeError(std::string_view code, const Place& place, std::string message,
                     std::string label, std::string help) {
  // Texts of the file stand in messages: nobody's terminal or record is to suffer from them.
  return {std::string(code), Severity::kError, Shown(message), "", place, "",
          Shown(label),      Shown(help)};
}

Diagnostic MakeWarning(std::string_view code, const Place& place, std::string message,
                       std::string label, std::string help) {
  Diagnostic warning = MakeError(code, place, std::move(message), std::move(label), std::move(help));
  warning.severity = Severity::kWarning;
  return warning;
}

std::string Quoted(std::string_view text) { return "\"" + Shown(text, kQuotedMax) + "\""; }

bool HasErrors(const Diagnostics& diagnostics) {
  return std::any_of(diagnostics.begin(), diagnostics.end(),
                     [](const Diagnostic& one) { return one.severity == Severity::kError; });
}

std::string Format(const Diagnostic& diagnostic) {
  const bool is_error = diagnostic.severity == Severity::kError;
  std::string out = Where(diagnostic) + ": " + (is_error ? "error" : "warning") +
                    (diagnostic.code.empty() ? "" : "[" + diagnostic.code + "]") + ": " + diagnostic.message + "\n";
  std::string number = std::to_string(diagnostic.place.line);
  number.insert(0, number.size() < 2 ? 2 - number.size() : 0, ' ');
  const std::string margin(number.size() + 1, ' ');
  if (diagnostic.place.line > 0) {
    const int caret = CaretColumn(diagnostic);
    const int length = std::clamp(kSnippetMax - caret, 1, std::max(diagnostic.place.length, 1));
    std::string mark = std::string(static_cast<size_t>(caret), ' ') +
                       std::string(static_cast<size_t>(length), '^');
    if (!diagnostic.label.empty()) mark += " " + diagnostic.label;
    out += margin + "|\n";
    out += number + " | " + diagnostic.snippet + "\n";
    out += margin + "| " + mark + "\n";
  } else if (!diagnostic.label.empty()) {
    out += margin + "= " + diagnostic.label + "\n";
  }
  if (!diagnostic.help.empty()) out += margin + "= " + diagnostic.help + "\n";
  return out;
}

std::string Brief(const Diagnostic& diagnostic) {
  return Where(diagnostic) + ": " + diagnostic.message +
         (diagnostic.label.empty() ? "" : "; " + diagnostic.label);
}

void Locate(std::string_view text, std::string_view file, Diagnostics& diagnostics) {
  std::stable_sort(
      diagnostics.begin(), diagnostics.end(), [](const Diagnostic& a, const Diagnostic& b) {
        return std::pair(a.place.line, a.place.column) < std::pair(b.place.line, b.place.column);
      });
  size_t begin = 0;
  int line = 1;
  for (Diagnostic& finding : diagnostics) {
    finding.file = std::string(file);
    if (finding.place.line <= 0) continue;
    for (; line < finding.place.line; ++line) {
      const size_t end = text.find('\n', begin);
      begin = end == std::string_view::npos ? text.size() : end + 1;
    }
    std::string_view content = text.substr(begin, text.find('\n', begin) - begin);
    if (content.ends_with('\r')) content.remove_suffix(1);
    Show(content, finding);
  }
}

std::span<const CodeExplanation> AllCodes() { return kCodes; }

const CodeExplanation* ExplainCode(std::string_view code) {
  std::string upper(code);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  for (const CodeExplanation& known : kCodes) {
    if (known.code == upper) return &known;
  }
  return nullptr;
}

}  // namespace cd4ml::core
