#include "hub/listing.h"

#include <curl/curl.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "hub/digest.h"
#include "hub/hub_error.h"
#include "hub/names.h"

namespace updraft::hub {
namespace {

using nlohmann::json;

constexpr int kDeepest = 32;
constexpr int64_t kLargestFile = int64_t(1) << 50;

json parse(std::string_view text, const std::string& host) {
  const auto shallow = [](int depth, json::parse_event_t, json&) {
    if (depth > kDeepest) throw std::runtime_error("too deep");
    return true;
  };
  try {
    return json::parse(text, shallow);
  } catch (const std::exception&) {
    refuse(Refusal::kBadListing, "{} answered with something that is no listing of files: it begins with \"{}\"", host,
           quote(text.substr(0, 40), " /<>!{}[]\"=,:"));
  }
}

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

int64_t size_of(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return -1;
  if (found->is_number_unsigned() && found->get<uint64_t>() > uint64_t(kLargestFile)) return -1;
  const int64_t size = found->get<int64_t>();
  return size < 0 || size > kLargestFile ? -1 : size;
}

std::string hash_of(const json& object, const char* key, size_t digits) {
  std::string hash = text_of(object, key);
  std::transform(hash.begin(), hash.end(), hash.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  return is_hex(hash, digits) ? hash : "";
}

void add(std::vector<RemoteFile>& files, RemoteFile file, const std::string& host) {
  check_path(file.path, host);
  if (files.size() >= kMaxFiles) refuse(Refusal::kBadListing, "{} lists more than {} files", host, kMaxFiles);
  files.push_back(std::move(file));
}

// The same name twice, or a name that is also a folder, could make one file overwrite another.
void check_distinct(const std::vector<RemoteFile>& files, const std::string& host) {
  std::map<std::string, int> seen;
  for (const RemoteFile& file : files) ++seen[file.path];
  for (auto at = seen.begin(); at != seen.end(); ++at) {
    const auto below = seen.lower_bound(at->first + "/");
    if (at->second > 1 || (below != seen.end() && below->first.starts_with(at->first + "/")))
      refuse(Refusal::kBadListing, "{} lists the name \"{}\" twice", host, at->first);
  }
}

}  // namespace

std::string parse_commit(std::string_view text, const std::string& host) {
  const json answer = parse(text, host);
  std::string commit = answer.is_object() ? hash_of(answer, "sha", 40) : "";
  if (commit.empty()) refuse(Refusal::kBadListing, "{} did not say which commit the revision is (field sha)", host);
  return commit;
}

void parse_tree_page(std::string_view text, const std::string& host, std::vector<RemoteFile>& files) {
  const json page = parse(text, host);
  if (!page.is_array()) refuse(Refusal::kBadListing, "{}: the listing of files is not an array", host);
  for (const json& entry : page) {
    if (!entry.is_object() || text_of(entry, "type") != "file") continue;
    RemoteFile file{text_of(entry, "path"), size_of(entry, "size"), hash_of(entry, "oid", 40), "",
                    text_of(entry, "xetHash")};
    if (const auto lfs = entry.find("lfs"); lfs != entry.end() && lfs->is_object()) {
      file.sha256 = hash_of(*lfs, "oid", 64);
      if (file.sha256.empty()) file.sha256 = hash_of(*lfs, "sha256", 64);
      if (const int64_t size = size_of(*lfs, "size"); size >= 0) file.size = size;
      if (file.sha256.empty()) refuse(Refusal::kBadListing, "{} lists {} without its sha256", host, file.path);
    }
    if (file.size < 0 || file.etag().empty())
      refuse(Refusal::kBadListing, "{} lists \"{}\" without a size or a hash", host, file.path);
    add(files, std::move(file), host);
  }
  check_distinct(files, host);
}

Listing parse_modelscope(std::string_view text, const std::string& host) {
  const json answer = parse(text, host);
  const auto data = answer.is_object() ? answer.find("Data") : answer.end();
  if (!answer.is_object() || data == answer.end() || !data->is_object() || !data->contains("Files") ||
      !(*data)["Files"].is_array())
    refuse(Refusal::kBadListing, "{} answered without Data.Files: {}", host,
           answer.is_object() ? text_of(answer, "Message") : "");
  Listing listing;
  for (const json& entry : (*data)["Files"]) {
    if (!entry.is_object() || text_of(entry, "Type") == "tree") continue;
    RemoteFile file{text_of(entry, "Path"), size_of(entry, "Size"), "", hash_of(entry, "Sha256", 64), ""};
    if (file.size < 0 || file.sha256.empty())
      refuse(Refusal::kBadListing, "{} lists \"{}\" without a size or a sha256", host, file.path);
    add(listing.files, std::move(file), host);
  }
  check_distinct(listing.files, host);
  listing.commit = pseudo_commit(listing.files);
  return listing;
}

std::vector<std::string> parse_modelers(std::string_view text, const std::string& host, Listing& listing) {
  const json answer = parse(text, host);
  const auto data = answer.is_object() ? answer.find("data") : answer.end();
  if (!answer.is_object() || data == answer.end() || !data->is_object() || !data->contains("tree") ||
      !(*data)["tree"].is_array())
    refuse(Refusal::kBadListing, "{} answered without data.tree: {}", host,
           answer.is_object() ? text_of(answer, "msg") : "");
  std::vector<std::string> folders;
  for (const json& entry : (*data)["tree"]) {
    if (!entry.is_object()) continue;
    if (text_of(entry, "type") == "dir") {
      folders.push_back(text_of(entry, "path"));
      check_path(folders.back(), host);
      continue;
    }
    RemoteFile file{text_of(entry, "path"), size_of(entry, "size"), "", hash_of(entry, "etag", 64), ""};
    if (file.sha256.empty()) file.git_sha1 = hash_of(entry, "etag", 40);
    if (file.size < 0 || file.etag().empty())
      refuse(Refusal::kBadListing, "{} lists \"{}\" without a size or a hash", host, file.path);
    add(listing.files, std::move(file), host);
  }
  check_distinct(listing.files, host);
  const auto last = data->find("last_commit");
  if (last != data->end() && last->is_object() && last->contains("commit") && (*last)["commit"].is_object() &&
      listing.commit.empty())
    listing.commit = hash_of((*last)["commit"], "commit_sha", 40);
  return folders;
}

Listing parse_manifest(std::string_view text, const std::string& host) {
  const json answer = parse(text, host);
  if (!answer.is_object() || answer.value("format", json()) != json(1) || !answer.contains("files") ||
      !answer["files"].is_array())
    refuse(Refusal::kBadListing, "{}: this is no Updraft manifest of format 1", host);
  Listing listing;
  for (const json& entry : answer["files"]) {
    if (!entry.is_object()) refuse(Refusal::kBadListing, "{}: the manifest lists something that is no file", host);
    RemoteFile file{text_of(entry, "path"), size_of(entry, "size"), hash_of(entry, "git_sha1", 40),
                    hash_of(entry, "sha256", 64), ""};
    if (file.size < 0 || file.etag().empty())
      refuse(Refusal::kBadListing, "{}: the manifest lists \"{}\" without a size or a hash", host, file.path);
    add(listing.files, std::move(file), host);
  }
  check_distinct(listing.files, host);
  listing.commit = hash_of(answer, "commit", 40);
  if (listing.commit.empty()) listing.commit = pseudo_commit(listing.files);
  return listing;
}

std::string manifest_repository(std::string_view text) {
  const json manifest = json::parse(text, nullptr, false);
  return manifest.is_object() ? text_of(manifest, "repository") : "";
}

std::string write_manifest(const std::string& repository, const Listing& listing) {
  nlohmann::ordered_json manifest = {{"format", 1}, {"repository", repository}, {"commit", listing.commit}};
  manifest["files"] = nlohmann::ordered_json::array();
  for (const RemoteFile& file : listing.files) {
    nlohmann::ordered_json entry = {{"path", file.path}, {"size", file.size}};
    if (!file.sha256.empty()) entry["sha256"] = file.sha256;
    if (!file.git_sha1.empty()) entry["git_sha1"] = file.git_sha1;
    manifest["files"].push_back(std::move(entry));
  }
  return manifest.dump(1) + "\n";
}

std::vector<std::string> parse_directory_page(std::string_view html) {
  std::vector<std::string> names;
  for (size_t at = 0; (at = html.find("href=\"", at)) != std::string_view::npos && names.size() < kMaxFiles;) {
    at += 6;
    const size_t end = html.find('"', at);
    if (end == std::string_view::npos) break;
    std::string_view link = html.substr(at, end - at);
    at = end + 1;
    if (link.starts_with("./")) link.remove_prefix(2);
    if (link.find_first_of("?#") != std::string_view::npos || link.starts_with('/')) continue;
    std::string name = unquote(link);
    const bool folder = name.ends_with('/');
    const std::string_view bare(name.data(), name.size() - (folder ? 1 : 0));
    if (!is_safe_path(bare) || bare.find('/') != std::string_view::npos) continue;
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
  }
  return names;
}

std::optional<std::vector<RemoteFile>> parse_trees(std::string_view text) {
  const json trees = json::parse(text, nullptr, false);
  if (!trees.is_object() || trees.value("format_version", json()) != json(1) || !trees.contains("files") ||
      !trees["files"].is_object())
    return std::nullopt;
  std::vector<RemoteFile> files;
  for (const auto& [path, entry] : trees["files"].items()) {
    if (!is_safe_path(path) || !entry.is_object()) return std::nullopt;
    RemoteFile file{path, size_of(entry, "size"), hash_of(entry, "blob_id", 40), hash_of(entry, "lfs_sha256", 64),
                    text_of(entry, "xet_hash")};
    if (const int64_t size = size_of(entry, "lfs_size"); size >= 0) file.size = size;
    files.push_back(std::move(file));
  }
  return files;
}

std::string write_trees(const std::vector<RemoteFile>& files) {
  json trees = {{"format_version", 1}, {"files", json::object()}};
  const auto or_null = [](const std::string& text) { return text.empty() ? json() : json(text); };
  for (const RemoteFile& file : files) {
    const bool large = !file.sha256.empty() && !file.git_sha1.empty();
    trees["files"][file.path] = {{"size", file.size},
                                 {"blob_id", file.git_sha1.empty() ? file.sha256 : file.git_sha1},
                                 {"lfs_sha256", large ? json(file.sha256) : json()},
                                 {"lfs_size", large ? json(file.size) : json()},
                                 {"xet_hash", or_null(file.xet_hash)}};
  }
  return trees.dump();
}

std::string next_link(std::string_view header) {
  while (!header.empty()) {
    const size_t open = header.find('<'), close = header.find('>', open == std::string_view::npos ? 0 : open);
    if (open == std::string_view::npos || close == std::string_view::npos) return "";
    const std::string_view target = header.substr(open + 1, close - open - 1);
    const size_t comma = header.find(',', close);
    const std::string_view parameters = header.substr(close, comma == std::string_view::npos ? comma : comma - close);
    if (parameters.find("rel=\"next\"") != std::string_view::npos ||
        parameters.find("rel=next") != std::string_view::npos)
      return std::string(target);
    if (comma == std::string_view::npos) return "";
    header.remove_prefix(comma + 1);
  }
  return "";
}

std::optional<int64_t> parse_integer(std::string_view text) {
  if (text.empty()) return std::nullopt;
  int64_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9' || value > (int64_t(1) << 62) / 10 - 10) return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const size_t dash = text.find('-'), slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) return std::nullopt;
  const auto first = parse_integer(text.substr(0, dash)), last = parse_integer(text.substr(dash + 1, slash - dash - 1));
  const std::string_view total_text = text.substr(slash + 1);
  const auto total = total_text == "*" ? std::optional<int64_t>(-1) : parse_integer(total_text);
  if (!first || !last || !total || *last < *first || (*total >= 0 && *last >= *total)) return std::nullopt;
  return ContentRange{*first, *last, *total};
}

std::optional<double> parse_wait(std::string_view retry_after, std::string_view rate_limit) {
  if (const auto seconds = parse_integer(retry_after)) return double(*seconds);
  if (!retry_after.empty()) {
    const time_t when = curl_getdate(std::string(retry_after).c_str(), nullptr);
    if (when > 0) return std::max(0.0, double(when) - double(std::time(nullptr)));
  }
  for (size_t at = 0; (at = rate_limit.find(";t=", at)) != std::string_view::npos; at += 3) {
    const size_t begin = at + 3;
    size_t end = begin;
    while (end < rate_limit.size() && rate_limit[end] >= '0' && rate_limit[end] <= '9') ++end;
    if (const auto seconds = parse_integer(rate_limit.substr(begin, end - begin))) return double(*seconds);
  }
  return std::nullopt;
}

std::string pseudo_commit(const std::vector<RemoteFile>& files) {
  std::vector<std::string> lines;
  lines.reserve(files.size());
  for (const RemoteFile& file : files) lines.push_back(fmt::format("{}\n{}\n{}\n", file.path, file.size, file.etag()));
  std::sort(lines.begin(), lines.end());
  Digest digest(Digest::kSha1);
  for (const std::string& line : lines) digest.update(line);
  return digest.hex();
}

}  // namespace updraft::hub
