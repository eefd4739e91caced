// libyaml, and nothing else: its parser is all that is used. Linked from its archive: the program needs one library less.
#include <yaml.h>
