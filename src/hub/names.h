// Names from elsewhere: repository ids, revisions, file paths and patterns. A path is accepted only when it stays in
// its folder under POSIX and under Windows rules; patterns are those of Python's fnmatch on the whole path.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace updraft::hub {

bool is_repository_id(std::string_view);       // name or organisation/name, as the Hub allows them
void check_repository_id(const std::string&);  // throws HubError kNoRepository
void check_revision(const std::string&);       // a branch, tag, refs/pr/1 or commit; throws HubError kNoRevision
bool is_commit(std::string_view);              // 40 hexadecimal digits
bool is_hex(std::string_view, size_t digits);  // lower case
bool is_safe_path(std::string_view);
void check_path(const std::string& path, const std::string& host);  // throws HubError kUnsafeName

// `*` crosses `/`, `?`, `[abc]`, `[!x]`; case matters. A trailing `/` means everything below.
bool matches(std::string_view pattern, std::string_view path);
bool matches_any(const std::vector<std::string>& patterns, std::string_view path);

// Percent-encoding; `safe` are characters kept besides letters, digits and _.-~
std::string quote(std::string_view, std::string_view safe = "/");
std::string unquote(std::string_view);

}  // namespace updraft::hub
