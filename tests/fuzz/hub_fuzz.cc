// Fuzzes what the hub parses from elsewhere: listings, manifests, pages, headers, metadata, records, tar. The first
// byte chooses the parser. Errors are expected; crashes, leaks and names that leave the folder are not.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "hub/bundle.h"
#include "hub/names.h"
#include "hub/part_file.h"

namespace {

void check_names(const std::vector<updraft::hub::RemoteFile>& files) {
  for (const auto& file : files)
    if (!updraft::hub::is_safe_path(file.path)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace updraft::hub;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0] % 11) {
      case 0: {
        std::vector<RemoteFile> files;
        parse_tree_page(text, "h", files);
        check_names(files);
        break;
      }
      case 1:
        check_names(parse_modelscope(text, "h").files);
        break;
      case 2:
        check_names(parse_manifest(text, "h").files);
        break;
      case 3:
        for (const auto& name : parse_directory_page(text))
          if (!is_safe_path(name.ends_with('/') ? name.substr(0, name.size() - 1) : name)) std::abort();
        break;
      case 4:
        parse_trees(text);
        break;
      case 5:
        next_link(text);
        parse_content_range(text);
        parse_wait(text, text);
        break;
      case 6:
        parse_metadata(text);
        break;
      case 7:
        parse_part_record(text);
        break;
      case 10: {
        Listing listing;
        parse_modelers(text, "h", listing);
        check_names(listing.files);
        break;
      }
      case 8:
        parse_tar_header(text);
        pax_value(text, "path");
        break;
      default:
        matches(text.substr(0, text.size() / 2), text.substr(text.size() / 2));
        break;
    }
  } catch (const updraft::Error&) {
  }
  return 0;
}
