// libpq, and nothing else: what Swift cannot import from it would be spelled out here.
#include <libpq-fe.h>
