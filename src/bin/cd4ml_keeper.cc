// The keeper's program; see include/cd4ml/keeper/keeper.h.
#include "cd4ml/keeper/keeper.h"

int main(int argc, char** argv) { return cd4ml::keeper::Main(argc, argv); }
