// Examples first, then what can be given.
#include "cli/help_text.h"

#include <algorithm>

#include "cli/text.h"

namespace cd4ml::cli {
namespace {

constexpr size_t kWidth = 80;

struct Topic {
  std::string_view name, summary, text;
};

constexpr Topic kTopics[] = {
    {"exit-codes", "what exit codes mean", R"(Exit codes

  0    done
  1    failed for a reason that no other code names
  2    the command line cannot be understood
  3    a pipeline definition has errors
  4    not found
  5    not allowed
  6    conflicts with how things stand
  7    no daemon answers
  8    took longer than --timeout

Of a run that is waited for (run start --wait or --watch, run watch, run wait,
run logs --follow, run reproduce):

  10   a stage failed
  11   a gate rejected
  12   cancelled, or superseded by a newer run
  13   infrastructure failed: no agent, an agent lost, a disk full
  14   something else came out (run reproduce)
  130  interrupted with Ctrl-C; the run goes on
)"},
    {"environment", "variables that the program reads", R"(Environment variables

  CD4ML_SERVER      the daemon's address, when --server is not given
  CD4ML_PROGRESS    how a run's progress is shown, when --progress is not given
  CD4ML_ACCESSIBLE  1: static text, nothing is painted over
  NO_COLOR          not empty: no colour
  CLICOLOR_FORCE    not 0: colour also off a terminal
  TERM              dumb: no colour, nothing is painted over
  COLUMNS           width of the output
)"},
    {"refs", "how runs, versions and deployments are named", R"(References

  used-car-price/2               a run: pipeline and number
  used-car-price/latest          the newest run of a pipeline
  used-car-price/latest-passed   the newest run that passed

`cd4ml lineage` also takes

  production                     an environment: what is live there
  used-car-price/3/release       a deployment: run and stage
  model:used-car-price/train.model@91bc2f...   a version
  91bc2f0                        the beginning of a digest or commit
  used-car-price/listings        data: pipeline and material
  listings.csv                   data: the path or address that it was read from
  req-8842                       the key of a prediction

and `cd4ml impact` the versions, digests, commits and data of these.
)"},
};

// Adds two columns of text; the right one is wrapped.
void AddRow(std::string& page, const std::string& left, const std::string& right,
            size_t left_width) {
  std::string head = "  " + Pad(left, left_width) + "  ";
  if (DisplayWidth(left) > left_width) {
    page += "  " + left + "\n";
    head = std::string(left_width + 4, ' ');
  }
  for (const std::string& line : Wrap(right, kWidth - left_width - 4)) {
    page += head + line + "\n";
    head = std::string(left_width + 4, ' ');
  }
}

std::string FlagText(const Option& option) {
  std::string text = option.flags;
  std::replace(text.begin(), text.end(), ',', ' ');
  return text + (option.value.empty() ? "" : " " + option.value);
}

void AddOptions(std::string& page, const std::string& heading, const std::vector<Option>& options) {
  if (options.empty()) return;
  page += "\n" + heading + "\n";
  for (const Option& option : options) {
    std::string help = option.help;
    if (!option.choices.empty()) help += ": " + Join(option.choices, ", ");
    if (option.repeats) help += "; may be repeated";
    AddRow(page, FlagText(option), help, 22);
  }
}

void AddWrapped(std::string& page, const std::string& text) {
  for (const std::string& line : Wrap(text, kWidth)) page += line + "\n";
}

std::string UsageText(const Command& command, const std::string& path) {
  std::string usage = "  cd4ml " + path;
  for (const Operand& operand : command.operands) {
    const std::string name = operand.name + (operand.repeats ? "..." : "");
    usage += operand.required ? " " + name : " [" + name + "]";
  }
  return usage + " [flags]\n";
}

std::string CommandPage(const Command& command) {
  std::string page = "cd4ml " + command.path + ": " + command.summary + "\n\nExamples\n";
  for (const std::string& example : command.examples) page += "  cd4ml " + example + "\n";
  page += "\nUsage\n" + UsageText(command, command.path);
  if (!command.alias.empty()) page += UsageText(command, command.alias);
  if (!command.operands.empty()) page += "\n";
  for (const Operand& operand : command.operands) AddRow(page, operand.name, operand.help, 22);
  AddOptions(page, "Flags", command.options);
  if (!command.details.empty()) page += "\n";
  if (!command.details.empty()) AddWrapped(page, command.details);
  return page + "\nFlags of every command: cd4ml --help\n";
}

// Adds the commands that `wanted` chooses, under their groups.
template <typename Wanted>
void AddCommands(std::string& page, const Wanted& wanted) {
  std::string group;
  for (const Command& command : AllCommands()) {
    if (!wanted(command)) continue;
    if (command.group != group) page += (group.empty() ? "" : "\n") + command.group + "\n";
    group = command.group;
    const std::string alias = command.alias.empty() ? "" : " (or: cd4ml " + command.alias + ")";
    AddRow(page, command.path, command.summary + alias, 17);
  }
}

std::string Overview() {
  std::string page =
      "cd4ml: continuous delivery of machine learning\n\n"
      "Examples\n"
      "  cd4ml pipeline add .\n"
      "  cd4ml run start used-car-price --watch\n"
      "  cd4ml deploy list\n\n";
  AddCommands(page, [](const Command&) { return true; });
  AddOptions(page, "Flags of every command", GlobalOptions());
  AddRow(page, "-h --help", "help on the command", 22);
  page += "\nTopics\n";
  for (const Topic& topic : kTopics) {
    AddRow(page, "help " + std::string(topic.name), std::string(topic.summary), 17);
  }
  return page;
}

std::string GroupPage(const std::string& word) {
  std::string page;
  AddCommands(page, [&](const Command& command) { return command.path.starts_with(word + " "); });
  return page.empty() ? "" : page + "\nHelp on one of them: cd4ml " + word + " COMMAND --help\n";
}

}  // namespace

std::string HelpFor(const std::string& subject) {
  if (subject.empty()) return Overview();
  for (const Command& command : AllCommands()) {
    if (command.path == subject || command.alias == subject) return CommandPage(command);
  }
  for (const Topic& topic : kTopics) {
    if (topic.name == subject) return std::string(topic.text);
  }
  return GroupPage(subject);
}

std::vector<std::string> HelpSubjects() {
  std::vector<std::string> subjects;
  for (const Command& command : AllCommands()) {
    subjects.push_back(command.path);
    if (!command.alias.empty()) subjects.push_back(command.alias);
    const size_t space = command.path.find(' ');
    if (space != std::string::npos) subjects.push_back(command.path.substr(0, space));
  }
  for (const Topic& topic : kTopics) subjects.emplace_back(topic.name);
  return subjects;
}

}  // namespace cd4ml::cli
