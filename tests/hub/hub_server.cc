// A hub on a loopback address for tests and benchmarks that run the program from outside.
//
//   hub_server FOLDER [ADDRESS]      serves the files of FOLDER as org/model, prints its address, ends with standard
//   input
#include <signal.h>

#include <cstdio>
#include <iostream>

#include "tests/hub/fake_hub.h"

int main(int count, char** arguments) {
  using namespace updraft::hub::test;
  if (count < 2) {
    std::fprintf(stderr, "usage: hub_server FOLDER [ADDRESS]\n");
    return 2;
  }
  ::signal(SIGPIPE, SIG_IGN);
  FakeRepository repository;
  repository.add_folder(arguments[1]);
  FakeHub hub(repository, {}, count > 2 ? arguments[2] : "127.0.0.1", 0);
  hub.page_size = 1000;
  std::printf("%s\n", hub.url().c_str());
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
  }
  return 0;
}
