/*
 * The version of ringsan: what ringsand and ringsan print, and tell each other.
 */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define RINGSAN_VERSION "0.1"

#endif
