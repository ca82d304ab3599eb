// The keeper as a program of its own, for tests that need no installed one.
#include "cd4ml/keeper/keeper.h"

int main(int argc, char** argv) { return cd4ml::keeper::Main(argc, argv); }
