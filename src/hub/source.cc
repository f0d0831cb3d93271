#include "hub/source.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "hub/names.h"

namespace updraft::hub {
namespace {

constexpr const char* kHub = "https://huggingface.co";
constexpr const char* kMirror = "https://hf-mirror.com";
constexpr const char* kModelScope = "https://www.modelscope.cn";
constexpr const char* kModelers = "https://modelers.cn";
constexpr int kMaxPages = 1000;
constexpr int kMaxFolders = 200;

Source parse_endpoint(std::string text) {
  Source source;
  if (text.starts_with("file://")) text = text.substr(7);
  if (text.starts_with("/") || text.starts_with("./") || text.starts_with("../")) {
    source.kind = SourceKind::kFolder;
    source.base = text;
    return source;
  }
  for (const auto& [prefix, kind] : {std::pair{"modelscope+", SourceKind::kModelScope},
                                     {"modelers+", SourceKind::kModelers},
                                     {"directory+", SourceKind::kDirectory}})
    if (text.starts_with(prefix)) source.kind = kind, text = text.substr(std::string_view(prefix).size());
  if (!text.starts_with("http://") && !text.starts_with("https://")) text = "https://" + text;
  while (text.ends_with('/')) text.pop_back();
  if (resolve_location(text, "/").empty())
    fail("--endpoint {}: this is no address; give one like https://hf-mirror.com", text);
  const std::string host = host_of(text);
  if (host.find("modelscope.") != std::string::npos) source.kind = SourceKind::kModelScope;
  if (host == "modelers.cn" || host == "api.gitcode.com") source.kind = SourceKind::kModelers;
  source.base = text;
  return source;
}

HttpReply ask(HttpClient& client, const Source& source, const std::string& url, const std::string& repository,
              const std::string& what) {
  HttpReply reply = fetch_small(client, {url, source.token});
  if (reply.head.status < 200 || reply.head.status >= 300)
    throw status_error(source, reply.url, reply.head, repository, what);
  return reply;
}

Listing list_hub(HttpClient& client, const Source& source, const std::string& repository, const std::string& revision) {
  Listing listing;
  listing.commit = revision;
  if (!is_commit(revision)) {
    const std::string url = fmt::format("{}/api/models/{}/revision/{}", source.base, repository, quote(revision, ""));
    listing.commit = parse_commit(ask(client, source, url, repository, "revision " + revision).body, source.name());
  }
  std::string url =
      fmt::format("{}/api/models/{}/tree/{}?recursive=true&expand=false", source.base, repository, listing.commit);
  for (int page = 0; !url.empty(); ++page) {
    if (page >= kMaxPages)
      refuse(Refusal::kBadListing, "{}: the listing has more than {} pages", source.name(), kMaxPages);
    const HttpReply reply = ask(client, source, url, repository, "revision " + revision);
    parse_tree_page(reply.body, source.name(), listing.files);
    const std::string next = next_link(reply.head.get("link"));
    // A mirror's next page may carry the Hub's own host: the path stays, the host is the source's.
    const size_t path = next.find("/api/models/");
    if (!next.empty() && path == std::string::npos)
      refuse(Refusal::kBadListing, "{}: the link to the next page of the listing leads elsewhere: {}", source.name(),
             next);
    url = next.empty() ? "" : source.base + next.substr(path);
  }
  return listing;
}

// One folder of a repository after the other.
void list_modelers_folder(HttpClient& client, const Source& source, const std::string& repository,
                          const std::string& revision, const std::string& folder, Listing& listing, int& folders) {
  if (++folders > kMaxFolders) refuse(Refusal::kBadListing, "{}: more than {} folders", source.name(), kMaxFolders);
  const std::string url =
      fmt::format("{}/api/v1/file/{}?path={}&ref={}", source.base, repository, quote(folder, ""), quote(revision, ""));
  for (const std::string& below :
       parse_modelers(ask(client, source, url, repository, "revision " + revision).body, source.name(), listing))
    list_modelers_folder(client, source, repository, revision, below, listing, folders);
}

Listing list_modelers(HttpClient& client, const Source& source, const std::string& repository,
                      const std::string& revision) {
  Listing listing;
  int folders = 0;
  list_modelers_folder(client, source, repository, revision, "", listing, folders);
  if (listing.files.empty()) refuse(Refusal::kNoRepository, "{}: {} holds no files", source.name(), repository);
  if (listing.commit.empty()) listing.commit = pseudo_commit(listing.files);
  return listing;
}

// A folder on a plain server: the repository below the endpoint, or the endpoint itself.
std::string directory_url(const Source& source, const std::string& repository, const std::string& path) {
  return source.base + (source.base.ends_with(repository) ? "" : "/" + repository) + "/" + quote(path);
}

void list_page(HttpClient& client, const Source& source, const std::string& repository, const std::string& folder,
               std::vector<RemoteFile>& files, int& folders) {
  if (++folders > kMaxFolders) refuse(Refusal::kBadListing, "{}: more than {} folders", source.name(), kMaxFolders);
  const HttpReply page = ask(client, source, directory_url(source, repository, folder), repository, "folder " + folder);
  for (const std::string& name : parse_directory_page(page.body)) {
    if (name.ends_with('/')) {
      list_page(client, source, repository, folder + name, files, folders);
      continue;
    }
    RemoteFile file;
    file.path = folder + name;
    check_path(file.path, source.name());
    const HttpReply head = fetch_small(client, {directory_url(source, repository, file.path), source.token, true});
    if (head.head.status != 200) throw status_error(source, head.url, head.head, repository, "file " + file.path);
    const auto size = parse_integer(head.head.get("content-length"));
    if (!size) refuse(Refusal::kBadListing, "{} does not say how large {} is", source.name(), file.path);
    file.size = *size;
    files.push_back(std::move(file));
  }
}

Listing list_directory(HttpClient& client, const Source& source, const std::string& repository) {
  const HttpReply manifest =
      fetch_small(client, {directory_url(source, repository, "updraft-manifest.json"), source.token});
  if (manifest.head.status == 200) return parse_manifest(manifest.body, source.name());
  Listing listing;
  int folders = 0;
  list_page(client, source, repository, "", listing.files, folders);
  if (listing.files.empty())
    refuse(Refusal::kNoRepository, "{}: the page of {} lists no files", source.name(), repository);
  listing.commit = pseudo_commit(listing.files);
  return listing;
}

Listing list_folder(const Source& source, const std::string& repository) {
  namespace fs = std::filesystem;
  fs::path folder = fs::path(source.base) / repository;
  if (!is_there(folder) &&
      (is_there(fs::path(source.base) / "config.json") || is_there(fs::path(source.base) / "updraft-manifest.json")))
    folder = source.base;
  Listing listing;
  if (is_there(folder / "updraft-manifest.json"))
    return parse_manifest(read_text_file(folder / "updraft-manifest.json"), source.name());
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string path = fs::relative(at->path(), folder, error).generic_string();
    if (path.starts_with(".cache")) continue;
    if (!at->is_regular_file(error)) continue;
    check_path(path, source.name());
    RemoteFile file;
    file.path = path;
    file.size = int64_t(at->file_size(error));
    listing.files.push_back(std::move(file));
  }
  if (error || listing.files.empty())
    refuse(Refusal::kNoRepository, "{}: there is no model folder here", folder.string());
  listing.commit = pseudo_commit(listing.files);
  return listing;
}

}  // namespace

std::string Source::name() const { return kind == SourceKind::kFolder ? base : host_of(base); }

std::vector<Source> make_sources(const SourceSettings& settings) {
  std::vector<Source> sources;
  const std::string home = settings.default_endpoint.empty() ? kHub : settings.default_endpoint;
  const std::string home_origin = origin_of(parse_endpoint(home).base);
  if (settings.endpoints.empty()) {
    sources.push_back(parse_endpoint(home));
    if (home == kHub)
      for (const char* other : {kMirror, kModelScope, kModelers}) sources.push_back(parse_endpoint(other));
  }
  for (const std::string& endpoint : settings.endpoints) sources.push_back(parse_endpoint(endpoint));
  for (size_t i = 0; i < sources.size(); ++i) {
    Source& source = sources[i];
    if (source.kind == SourceKind::kFolder) continue;
    const bool own = origin_of(source.base) == home_origin || origin_of(source.base) == origin_of(kHub);
    if (i == 0 && !settings.explicit_token.empty())
      source.token = settings.explicit_token;
    else if (own)
      source.token = settings.token;
    source.token_withheld = source.token.empty() && !(settings.token.empty() && settings.explicit_token.empty());
    if (!source.token.empty() && source.base.starts_with("http://") && !is_loopback(source.base))
      refuse(Refusal::kTokenElsewhere,
             "{}: the token would travel unencrypted over plain http; give an https endpoint, or no token",
             source.name());
  }
  return sources;
}

Listing list_repository(HttpClient& client, Source& source, const std::string& repository,
                        const std::string& revision) {
  switch (source.kind) {
    case SourceKind::kFolder:
      return list_folder(source, repository);
    case SourceKind::kDirectory:
      return list_directory(client, source, repository);
    case SourceKind::kModelers:
      return list_modelers(client, source, repository, revision);
    case SourceKind::kModelScope: {
      const std::string asked = revision == "main" || is_commit(revision) ? "master" : revision;
      const std::string url = fmt::format("{}/api/v1/models/{}/repo/files?Revision={}&Recursive=true", source.base,
                                          repository, quote(asked, ""));
      return parse_modelscope(ask(client, source, url, repository, "revision " + asked).body, source.name());
    }
    case SourceKind::kHuggingFace:
      break;
  }
  try {
    return list_hub(client, source, repository, revision);
  } catch (const HubError& error) {
    const bool maybe_directory = error.refusal() == Refusal::kNoFile || error.refusal() == Refusal::kBadListing;
    if (!maybe_directory) throw;
    try {
      Listing listing = list_directory(client, source, repository);
      source.kind = SourceKind::kDirectory;
      return listing;
    } catch (const HubError& second) {
      if (second.refusal() == Refusal::kUnsafeName || second.refusal() == Refusal::kInterrupted) throw;
      if (error.refusal() != Refusal::kNoFile) throw error;
      throw HubError(Refusal::kNoRepository, error.what());
    }
  }
}

std::string file_url(const Source& source, const std::string& repository, const std::string& commit,
                     const std::string& revision, const std::string& path) {
  switch (source.kind) {
    case SourceKind::kModelScope:
      return fmt::format("{}/models/{}/resolve/{}/{}", source.base, repository,
                         quote(revision == "main" || is_commit(revision) ? "master" : revision, ""), quote(path));
    case SourceKind::kModelers:
      return fmt::format("{}/api/v1/file/{}/{}/media/{}", source.base, repository, quote(revision, ""), quote(path));
    case SourceKind::kDirectory:
      return directory_url(source, repository, path);
    case SourceKind::kFolder: {
      const std::filesystem::path below = std::filesystem::path(source.base) / repository;
      return (is_there(below) ? below : std::filesystem::path(source.base)) / path;
    }
    case SourceKind::kHuggingFace:
      break;
  }
  return fmt::format("{}/{}/resolve/{}/{}", source.base, repository, quote(commit, ""), quote(path));
}

HubError status_error(const Source& source, const std::string& url, const HttpHead& head, const std::string& repository,
                      const std::string& what) {
  const std::string host = host_of(url), code = head.get("x-error-code");
  std::string said = head.get("x-error-message").substr(0, 300);
  if (!said.empty()) said = fmt::format(" ({} says: {})", host, said);
  const std::string page = source.base + "/" + repository;
  const std::string withheld = source.token_withheld
                                   ? fmt::format(
                                         "; a token is set, but it belongs to another host and is never sent to {}: "
                                         "give --token with this --endpoint first to use it there",
                                         source.name())
                                   : "";
  if (code == "GatedRepo" || (head.status == 403 && code.empty() && origin_of(url) == origin_of(source.base)))
    return {Refusal::kGated, fmt::format("{}: {} is gated: accept its terms at {}, then {}{}{}", host, repository, page,
                                         source.token.empty() ? "set HF_TOKEN to a token of that account"
                                                              : "the token you gave will work",
                                         said, withheld)};
  if (head.status == 401)
    return {
        Refusal::kUnauthorized,
        source.token.empty()
            ? fmt::format("{}: {} does not exist, is private, or is gated: accept its terms at {} and set HF_TOKEN{}{}",
                          host, repository, page, said, withheld)
            : fmt::format("{}: the token is refused for {} (it is wrong, expired, or the repository does not exist){}",
                          host, repository, said)};
  if (code == "RepoNotFound")
    return {Refusal::kNoRepository, fmt::format("{}: there is no repository {}{}", host, repository, said)};
  if (code == "RevisionNotFound")
    return {Refusal::kNoRevision, fmt::format("{}: {} has no {}{}", host, repository, what, said)};
  if (head.status == 404 || head.status == 410)
    return {Refusal::kNoFile, fmt::format("{}: {} has no {} (status {}){}", host, repository, what, head.status, said)};
  if (head.status == 429)
    return {Refusal::kTooManyRequests, fmt::format("{}: too many requests (status 429){}", host, said)};
  if (head.status == 416)
    return {Refusal::kRangeRefused, fmt::format("{}: refuses a range inside {} (status 416){}", host, what, said)};
  if (head.status == 408 || head.status >= 500)
    return {Refusal::kNetwork,
            fmt::format("{}: the server failed with status {} for {}{}", host, head.status, what, said)};
  // A signed address of a storage host that was refused is worth another try with a new one.
  return {head.status == 403 && origin_of(url) == origin_of(source.base) ? Refusal::kUnauthorized : Refusal::kNetwork,
          fmt::format("{}: status {} for {}{}", host, head.status, what, said)};
}

}  // namespace updraft::hub
