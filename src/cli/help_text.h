// Help pages: made from the table of commands, and three topics; at most 80 columns wide.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"

namespace cd4ml::cli {

// Returns the page of a command ("run start"), a group ("run"), a topic ("refs") or the overview
// (""); "" when there is no such page.
std::string HelpFor(const std::string& subject);

// Everything that HelpFor knows.
std::vector<std::string> HelpSubjects();

}  // namespace cd4ml::cli
