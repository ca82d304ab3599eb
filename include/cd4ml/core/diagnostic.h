// What is wrong where in a user's file: one shape for lint, registration and the CLI.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cd4ml::core {

// A place in a text file. Lines and columns count from 1; zero means "the file as a whole". Columns
// count bytes in a specification, which knows no text, and characters in a finished diagnostic.
struct Place {
  int line = 0;
  int column = 0;
  int length = 1;  // What the caret underlines.

  bool operator==(const Place&) const = default;
};

enum class Severity { kError, kWarning };

// One finding in a file. `code` ("CD0121") is stable and is what `cd4ml explain` describes.
struct Diagnostic {
  std::string code;
  Severity severity = Severity::kError;
  std::string message;  // Lower case, no full stop: what and which.
  std::string file;
  Place place;
  std::string snippet;  // The offending line, without its line break; a window of a long line.
  std::string label;    // Beside the caret: `did you mean "needs"?`. May be empty.
  std::string help;     // A line of its own: what is allowed, what to do. May be empty.

  bool operator==(const Diagnostic&) const = default;
};

using Diagnostics = std::vector<Diagnostic>;

// Returns an error that Locate has still to finish.
Diagnostic MakeError(std::string_view code, const Place& place, std::string message,
                     std::string label = "", std::string help = "");

// The same for a warning: it is shown, and nothing else follows from it.
Diagnostic MakeWarning(std::string_view code, const Place& place, std::string message,
                       std::string label = "", std::string help = "");

// Returns a text of the file as messages show it: in quotes, on one line, and cut when it is long.
std::string Quoted(std::string_view text);

bool HasErrors(const Diagnostics& diagnostics);

// Returns the finding as `lint` prints it: file:line:column, code, snippet with caret, help.
std::string Format(const Diagnostic& diagnostic);

// Returns "file:line:column: message" in one line, for recorded reasons.
std::string Brief(const Diagnostic& diagnostic);

// Finishes findings that so far know only line and byte column: sorts them by place, names `file`,
// cuts the snippets out of `text` and counts columns in characters. Snippets are safe to print.
void Locate(std::string_view text, std::string_view file, Diagnostics& diagnostics);

// What a code means, for `cd4ml explain CODE`.
struct CodeExplanation {
  std::string_view code;
  std::string_view title;        // What is wrong, in a few words.
  std::string_view explanation;  // Why that is an error, and what to do.
};

// Returns all codes in ascending order; never one that another meaning had before.
std::span<const CodeExplanation> AllCodes();

// Returns what `code` ("CD0121", any case) means, or null when there is no such code.
const CodeExplanation* ExplainCode(std::string_view code);

// The codes by name. CD00 form of the file, CD01 keys and values, CD02 references, CD03
// expressions, CD04 parts of the language that are not available yet.
namespace code {
inline constexpr std::string_view kTooLarge = "CD0001";
inline constexpr std::string_view kNotUtf8 = "CD0002";
inline constexpr std::string_view kControlCharacter = "CD0003";
inline constexpr std::string_view kByteOrderMark = "CD0004";
inline constexpr std::string_view kBadIndentation = "CD0005";
inline constexpr std::string_view kUnclosed = "CD0006";
inline constexpr std::string_view kEmptyEntry = "CD0007";
inline constexpr std::string_view kDirective = "CD0008";
inline constexpr std::string_view kMoreDocuments = "CD0009";
inline constexpr std::string_view kAnchor = "CD0010";
inline constexpr std::string_view kTag = "CD0011";
inline constexpr std::string_view kMergeKey = "CD0012";
inline constexpr std::string_view kDuplicateKey = "CD0013";
inline constexpr std::string_view kTooDeep = "CD0014";
inline constexpr std::string_view kTooManyValues = "CD0015";
inline constexpr std::string_view kNotYaml = "CD0016";
inline constexpr std::string_view kKeyNotText = "CD0017";
inline constexpr std::string_view kAmbiguous = "CD0018";
inline constexpr std::string_view kEmptyFile = "CD0019";
inline constexpr std::string_view kTooManyFindings = "CD0020";

inline constexpr std::string_view kFormat = "CD0101";
inline constexpr std::string_view kMissingKey = "CD0102";
inline constexpr std::string_view kWrongType = "CD0103";
inline constexpr std::string_view kBadName = "CD0104";
inline constexpr std::string_view kBadWord = "CD0105";
inline constexpr std::string_view kBadUnit = "CD0106";
inline constexpr std::string_view kOutOfRange = "CD0107";
inline constexpr std::string_view kEmpty = "CD0108";
inline constexpr std::string_view kConflict = "CD0109";
inline constexpr std::string_view kSameVariable = "CD0110";
inline constexpr std::string_view kReservedVariable = "CD0111";
inline constexpr std::string_view kBadPath = "CD0112";
inline constexpr std::string_view kBadDefault = "CD0113";
inline constexpr std::string_view kTimesContradict = "CD0114";
inline constexpr std::string_view kBadSource = "CD0115";
inline constexpr std::string_view kBadRuntime = "CD0116";
inline constexpr std::string_view kNotPinned = "CD0117";
inline constexpr std::string_view kUnknownKey = "CD0121";
inline constexpr std::string_view kKeyOfOtherKind = "CD0122";
inline constexpr std::string_view kRuleForm = "CD0123";
inline constexpr std::string_view kGateWithoutRules = "CD0124";
inline constexpr std::string_view kRuleOfOtherGate = "CD0125";
inline constexpr std::string_view kNoBound = "CD0126";
inline constexpr std::string_view kBadMatrix = "CD0127";

inline constexpr std::string_view kUnknownStage = "CD0201";
inline constexpr std::string_view kUnknownOutput = "CD0202";
inline constexpr std::string_view kUnknownSource = "CD0203";
inline constexpr std::string_view kCycle = "CD0204";
inline constexpr std::string_view kSamePath = "CD0205";
inline constexpr std::string_view kWrongOutputType = "CD0206";
inline constexpr std::string_view kUnknownEnvironment = "CD0207";
inline constexpr std::string_view kMonitorWithoutDeploy = "CD0208";
inline constexpr std::string_view kUnknownSubject = "CD0209";
inline constexpr std::string_view kUnknownCheck = "CD0210";
inline constexpr std::string_view kUnknownMonitor = "CD0211";
inline constexpr std::string_view kRetrainNotTriggered = "CD0212";
inline constexpr std::string_view kUnknownSlice = "CD0213";
inline constexpr std::string_view kUnknownBaseline = "CD0214";
inline constexpr std::string_view kTooManyStages = "CD0215";
inline constexpr std::string_view kTooManyEdges = "CD0216";
inline constexpr std::string_view kUnknownParameter = "CD0217";
inline constexpr std::string_view kLaneMayNotDiffer = "CD0218";
inline constexpr std::string_view kPolicy = "CD0219";
inline constexpr std::string_view kNoWinner = "CD0220";
inline constexpr std::string_view kUnknownMetric = "CD0221";
inline constexpr std::string_view kBadContract = "CD0222";

inline constexpr std::string_view kBadExpression = "CD0301";
inline constexpr std::string_view kTemplateInRun = "CD0302";
inline constexpr std::string_view kTemplateNotHere = "CD0303";
inline constexpr std::string_view kUnknownName = "CD0305";
inline constexpr std::string_view kExpressionValue = "CD0306";
inline constexpr std::string_view kUnknownFunction = "CD0307";
inline constexpr std::string_view kBadCondition = "CD0308";

inline constexpr std::string_view kNoTrigger = "CD0401";
inline constexpr std::string_view kNoRoles = "CD0402";
inline constexpr std::string_view kNoForEach = "CD0405";
inline constexpr std::string_view kNoSecrets = "CD0406";
inline constexpr std::string_view kNoReference = "CD0410";
inline constexpr std::string_view kNoApproval = "CD0412";
inline constexpr std::string_view kNoWindows = "CD0413";
inline constexpr std::string_view kNoUnlocked = "CD0414";
inline constexpr std::string_view kNoStrategy = "CD0415";
inline constexpr std::string_view kNoHook = "CD0416";
inline constexpr std::string_view kNoKeep = "CD0417";
inline constexpr std::string_view kNoSbom = "CD0418";
inline constexpr std::string_view kNoPlots = "CD0419";
inline constexpr std::string_view kNoReproducible = "CD0420";
inline constexpr std::string_view kNoGroundTruth = "CD0429";
inline constexpr std::string_view kNoMonitorMetric = "CD0430";
inline constexpr std::string_view kNoPredictionSource = "CD0431";
inline constexpr std::string_view kNoBreachAction = "CD0432";
inline constexpr std::string_view kNoRetention = "CD0433";
inline constexpr std::string_view kNoNotify = "CD0434";
}  // namespace code

}  // namespace cd4ml::core
