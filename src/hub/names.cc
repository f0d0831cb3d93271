#include "hub/names.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "hub/hub_error.h"

namespace updraft::hub {
namespace {

bool is_name(std::string_view name) {
  if (name.empty() || name.front() == '-' || name.front() == '.' || name.back() == '-' || name.back() == '.')
    return false;
  return std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; });
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// CON, NUL, COM1 ... with or without an extension open devices on Windows.
bool is_windows_device(std::string_view segment) {
  std::string stem(segment.substr(0, segment.find('.')));
  while (!stem.empty() && stem.back() == ' ') stem.pop_back();
  std::transform(stem.begin(), stem.end(), stem.begin(), [](unsigned char c) { return char(std::toupper(c)); });
  constexpr std::array kDevices{"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"};
  if (std::find(kDevices.begin(), kDevices.end(), stem) != kDevices.end()) return true;
  return stem.size() == 4 && (stem.starts_with("COM") || stem.starts_with("LPT")) && stem[3] >= '0' && stem[3] <= '9';
}

bool is_safe_segment(std::string_view segment) {
  if (segment.empty() || segment == "." || segment == ".." || segment.size() > 255) return false;
  if (segment.back() == '.' || segment.back() == ' ') return false;  // Windows drops them: "a./b" is "a/b"
  for (unsigned char c : segment)
    if (c < 0x20 || c == 0x7f || c == '\\' || c == ':' || c == '<' || c == '>' || c == '"' || c == '|' || c == '?' ||
        c == '*')
      return false;
  return !is_windows_device(segment);
}

// One [class]: whether `c` is in it; `end` becomes the position after it. Without a closing ] it is a plain [.
bool in_class(std::string_view pattern, size_t at, char c, size_t& end) {
  size_t i = at + 1;
  const bool negated = i < pattern.size() && pattern[i] == '!';
  if (negated) ++i;
  size_t close = i < pattern.size() && pattern[i] == ']' ? i + 1 : i;
  while (close < pattern.size() && pattern[close] != ']') ++close;
  if (close >= pattern.size()) {
    end = at + 1;
    return c == '[';
  }
  end = close + 1;
  bool found = false;
  while (i < close) {
    if (i + 2 < close && pattern[i + 1] == '-') {
      found |= pattern[i] <= c && c <= pattern[i + 2];
      i += 3;
    } else {
      found |= pattern[i] == c;
      ++i;
    }
  }
  return found != negated;
}

bool wildcard(std::string_view pattern, std::string_view path) {
  size_t p = 0, s = 0, star = std::string_view::npos, star_s = 0;
  while (s < path.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_s = s;
      continue;
    }
    size_t next = p + 1;
    bool same = false;
    if (p < pattern.size())
      same = pattern[p] == '?' || (pattern[p] == '[' ? in_class(pattern, p, path[s], next) : pattern[p] == path[s]);
    if (same) {
      p = next;
      ++s;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      s = ++star_s;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace

bool is_repository_id(std::string_view id) {
  if (id.empty() || id.size() > 96 || id.ends_with(".git")) return false;
  if (id.find("--") != std::string_view::npos || id.find("..") != std::string_view::npos) return false;
  const size_t slash = id.find('/');
  if (slash == std::string_view::npos) return is_name(id);
  return is_name(id.substr(0, slash)) && is_name(id.substr(slash + 1));
}

void check_repository_id(const std::string& id) {
  if (!is_repository_id(id))
    refuse(Refusal::kNoRepository,
           "\"{}\" is not the name of a repository: names look like mistralai/Mistral-7B-Instruct-v0.2 (letters, "
           "digits, - _ . and one /, at most 96 characters)",
           id);
}

void check_revision(const std::string& revision) {
  const auto parts = split(revision, '/');
  const bool good = revision.size() <= 255 && std::all_of(parts.begin(), parts.end(), is_safe_segment);
  if (!good) refuse(Refusal::kNoRevision, "\"{}\" is not a revision: give a branch, a tag or a commit", revision);
}

bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_commit(std::string_view text) { return is_hex(text, 40); }

bool is_safe_path(std::string_view path) {
  if (path.empty() || path.size() > 1024) return false;
  const auto parts = split(path, '/');
  return std::all_of(parts.begin(), parts.end(), is_safe_segment);
}

void check_path(const std::string& path, const std::string& host) {
  if (is_safe_path(path)) return;
  std::string shown;
  for (unsigned char c : path.substr(0, 120))
    shown += c < 0x20 || c == 0x7f ? fmt::format("\\x{:02x}", c) : std::string(1, char(c));
  refuse(Refusal::kUnsafeName,
         "{} lists a file named \"{}\": the name could leave the folder on Linux or on Windows, so nothing of this "
         "repository is fetched",
         host, shown);
}

bool matches(std::string_view pattern, std::string_view path) {
  std::string normal(pattern);
  std::replace(normal.begin(), normal.end(), '\\', '/');
  if (normal.ends_with('/')) normal += '*';
  return wildcard(normal, path);
}

bool matches_any(const std::vector<std::string>& patterns, std::string_view path) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const auto& pattern) { return matches(pattern, path); });
}

std::string quote(std::string_view text, std::string_view safe) {
  std::string out;
  for (unsigned char c : text) {
    if (std::isalnum(c) || c == '_' || c == '.' || c == '-' || c == '~' || safe.find(char(c)) != std::string_view::npos)
      out += char(c);
    else
      out += fmt::format("%{:02X}", c);
  }
  return out;
}

std::string unquote(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
      out += char(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace updraft::hub
