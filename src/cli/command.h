// What a command of the program is: its words, what it takes, and what performs it.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace cd4ml::cli {

class Invocation;

// Something that a command takes by name: `-p,--param K=V`.
struct Option {
  std::string flags;  // "--lane", "-p,--param": the last one names it.
  std::string value;  // What help calls its value; empty: a switch.
  std::string help;
  bool repeats = false;
  std::vector<std::string> choices;  // Empty: any text.

  // Returns "param".
  std::string name() const { return flags.substr(flags.rfind("--") + 2); }
};

// Something that a command takes by position.
struct Operand {
  std::string name;  // "RUN"
  std::string help;
  bool required = true;
  bool repeats = false;
};

// One command. The tree is made of their paths.
struct Command {
  std::string path;                   // "run start"
  std::string group;                  // Heading in the overview.
  std::string summary;                // "start a run of a pipeline"
  std::vector<std::string> examples;  // Without the leading "cd4ml ".
  std::vector<Operand> operands;
  std::vector<Option> options;
  std::function<int(Invocation&)> perform;
  std::string details;  // What else there is to know; may be empty.
  std::string alias;    // "watch": a second way to call it.
};

// The values that a command line gave, by the name of the option or operand.
class Arguments {
 public:
  void Set(const std::string& name, std::vector<std::string> values) {
    values_[name] = std::move(values);
  }
  bool Has(const std::string& name) const { return values_.contains(name); }
  std::vector<std::string> Many(const std::string& name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? std::vector<std::string>() : found->second;
  }
  std::string One(const std::string& name, const std::string& fallback = "") const {
    const auto found = values_.find(name);
    return found == values_.end() || found->second.empty() ? fallback : found->second.front();
  }

 private:
  std::map<std::string, std::vector<std::string>> values_;
};

// All commands in the order of the overview.
const std::vector<Command>& AllCommands();
// The flags that every command takes.
const std::vector<Option>& GlobalOptions();

}  // namespace cd4ml::cli
