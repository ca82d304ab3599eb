// The program's own log: one call states one fact, as a sentence and key=value fields.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace cd4ml {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

// One key=value pair of a log line.
struct LogField {
  std::string_view key;
  std::string value;
};

// Sends the log to standard error, or to `file` (appended) when it is not empty. Call once, from
// main, before the first thread; until then lines go to standard error.
void OpenLog(std::string_view program, LogLevel level, const std::string& file);

// Writes one line. Thread-safe. Never pass secrets or whole payloads.
void Log(LogLevel level, std::string_view fact, std::initializer_list<LogField> fields = {});

inline void LogInfo(std::string_view fact, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kInfo, fact, fields);
}
inline void LogWarn(std::string_view fact, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kWarn, fact, fields);
}
inline void LogError(std::string_view fact, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kError, fact, fields);
}
inline void LogDebug(std::string_view fact, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kDebug, fact, fields);
}

}  // namespace cd4ml
