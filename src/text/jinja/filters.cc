#include "text/jinja/filters.h"

namespace updraft::text::jinja {

Filter find_filter(std::string_view name) {
  if (Filter filter = find_text_filter(name)) return filter;
  if (Filter filter = find_sequence_filter(name)) return filter;
  return find_value_filter(name);
}

}  // namespace updraft::text::jinja
