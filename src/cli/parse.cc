// Feeds the table of commands to CLI11 and words its complaints anew: its own are terse.
#include "cli/parse.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>

#include "cd4ml/base/text.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

// CLI11's half of a command: which of its options gives which argument.
struct Bound {
  CLI::App* app = nullptr;
  const Command* command = nullptr;
  std::vector<std::pair<std::string, CLI::Option*>> options;
};

CLI::App* Subcommand(CLI::App* parent, const std::string& name) {
  const auto found =
      parent->get_subcommands([&name](CLI::App* app) { return app->get_name() == name; });
  if (!found.empty()) return found.front();
  CLI::App* app = parent->add_subcommand(name);
  app->set_help_flag();
  app->fallthrough();
  app->allow_extras();
  app->require_subcommand(0, 1);
  return app;
}

CLI::Option* AddOption(CLI::App* app, const Option& option) {
  if (option.value.empty()) return app->add_flag(option.flags)->disable_flag_override();
  CLI::Option* added = app->add_option(option.flags);
  if (option.repeats) added->take_all();
  return added;
}

Bound Bind(CLI::App* app, const Command& command) {
  Bound bound{app, &command, {}};
  for (const Operand& operand : command.operands) {
    CLI::Option* added = app->add_option(operand.name);
    if (operand.repeats) added->take_all()->allow_extra_args();
    bound.options.emplace_back(operand.name, added);
  }
  for (const Option& option : command.options) {
    bound.options.emplace_back(option.name(), AddOption(app, option));
  }
  return bound;
}

// The whole tree, built for one command line.
struct Tree {
  CLI::App root{"", "cd4ml"};
  std::vector<std::pair<std::string, CLI::Option*>> globals;
  std::vector<Bound> commands;

  Tree() {
    root.set_help_flag();
    root.allow_extras();
    root.require_subcommand(0, 1);
    globals.emplace_back("help", root.add_flag("-h,--help"));
    globals.emplace_back("version", root.add_flag("--version"));
    for (const Option& option : GlobalOptions()) {
      globals.emplace_back(option.name(), AddOption(&root, option));
    }
    for (const Command& command : AllCommands()) {
      CLI::App* app = &root;
      const size_t space = command.path.find(' ');
      if (space != std::string::npos) app = Subcommand(app, command.path.substr(0, space));
      commands.push_back(Bind(Subcommand(app, command.path.substr(space + 1)), command));
      if (!command.alias.empty())
        commands.push_back(Bind(Subcommand(&root, command.alias), command));
    }
  }
};

// Returns the deepest subcommand that was named.
CLI::App* Deepest(CLI::App* app) {
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  return app;
}

std::vector<std::string> NamesBelow(CLI::App* app) {
  std::vector<std::string> names;
  for (CLI::App* below : app->get_subcommands([](CLI::App*) { return true; })) {
    names.push_back(below->get_name());
  }
  return names;
}

void AddFlags(const std::vector<Option>& options, std::vector<std::string>& flags) {
  for (const Option& option : options) flags.push_back("--" + option.name());
}

// Says what is wrong with the first word that nothing took.
std::string Unexpected(const std::vector<std::string>& extras, CLI::App* app,
                       const Command* command) {
  const auto flag = std::find_if(extras.begin(), extras.end(),
                                 [](const std::string& word) { return word.starts_with("-"); });
  if (flag != extras.end()) {
    const std::string name = flag->substr(0, flag->find('='));
    std::vector<std::string> known = {"--help"};
    AddFlags(GlobalOptions(), known);
    if (command != nullptr) AddFlags(command->options, known);
    return "unknown flag \"" + SafeLine(name) + "\"" + DidYouMean(name, known);
  }
  const std::string word = SafeLine(extras.front());
  if (command != nullptr)
    return "unexpected \"" + word + "\" after \"cd4ml " + command->path + "\"";
  std::vector<std::string> known = NamesBelow(app);
  std::string message = "unknown command \"" + word + "\"";
  const std::string near = DidYouMean(word, known);
  if (!near.empty()) return message + near;
  std::sort(known.begin(), known.end());
  return app->get_parent() == nullptr
             ? message
             : message + " after \"" + app->get_name() + "\"; there are " + Join(known, ", ");
}

// Returns what is wrong with the arguments of a command, or "".
std::string Missing(const Command& command, const Arguments& arguments) {
  for (const Operand& operand : command.operands) {
    if (operand.required && !arguments.Has(operand.name)) {
      return "\"cd4ml " + command.path + "\" needs " + operand.name + ": " + operand.help;
    }
  }
  return "";
}

std::string BadChoice(const std::vector<Option>& options, const Arguments& arguments) {
  for (const Option& option : options) {
    if (option.choices.empty() || !arguments.Has(option.name())) continue;
    const std::string given = arguments.One(option.name());
    if (std::find(option.choices.begin(), option.choices.end(), given) != option.choices.end())
      continue;
    return "--" + option.name() + " is one of " + Join(option.choices, ", ") + ", not \"" +
           SafeLine(given) + "\"" + DidYouMean(given, option.choices);
  }
  return "";
}

// Words CLI11's complaint about the number of an option's values anew.
std::string Reworded(const CLI::ParseError& error) {
  const std::string text = SafeLine(error.what());
  const size_t begin = std::min(text.find_first_not_of('-'), text.size());
  const size_t end = std::min(text.find_first_of(": ", begin), text.size());
  const std::string name = "flag \"--" + text.substr(begin, end - begin) + "\"";
  if (text.ends_with("missing")) return name + " needs a value";
  if (text.find("At Most") != std::string::npos) return name + " is given more than once";
  if (text.find("override") != std::string::npos) return name + " takes no value";
  return text;
}

void Collect(const std::vector<std::pair<std::string, CLI::Option*>>& options,
             Arguments& arguments) {
  for (const auto& [name, option] : options) {
    if (option->count() > 0) arguments.Set(name, option->results());
  }
}

}  // namespace

ParsedLine ParseLine(const std::vector<std::string>& words) {
  ParsedLine line;
  Tree tree;
  try {
    tree.root.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::ParseError& error) {
    line.error = Reworded(error);
  }
  CLI::App* deepest = Deepest(&tree.root);
  Collect(tree.globals, line.arguments);
  line.help = line.arguments.Has("help");
  line.version = line.arguments.Has("version");
  for (const Bound& bound : tree.commands) {
    if (bound.app != deepest) continue;
    line.command = bound.command;
    Collect(bound.options, line.arguments);
  }
  if (line.command == nullptr)
    line.group = deepest->get_name() == "cd4ml" ? "" : deepest->get_name();
  if (!line.error.empty() || line.help || line.version) return line;
  const std::vector<std::string> extras = tree.root.remaining(/*recurse=*/true);
  if (!extras.empty()) line.error = Unexpected(extras, deepest, line.command);
  if (line.error.empty()) line.error = BadChoice(GlobalOptions(), line.arguments);
  if (line.command == nullptr || !line.error.empty()) return line;
  line.error = Missing(*line.command, line.arguments);
  if (line.error.empty()) line.error = BadChoice(line.command->options, line.arguments);
  return line;
}

}  // namespace cd4ml::cli
