// A plugin in C++ for plugin.c, a program in C.
#include <new>

namespace
{
int handler_runs;

void second_time_gives_up()
{
	if (++handler_runs == 2)
		std::set_new_handler(nullptr);
}

// More than the address space, as the compiler must not know.
volatile std::size_t too_much = std::size_t(1) << 52;
}

// Whether what is too much is thrown for, and where nothing may be, NULL.
extern "C" bool fails_as_cxx_says()
{
	try {
		::operator delete(::operator new(too_much));
		return false;
	} catch (const std::bad_alloc &) {
	}
	return !::operator new[](too_much, std::nothrow);
}

// How often a new-handler was asked that gives up the second time.
extern "C" int handler_is_asked()
{
	std::set_new_handler(second_time_gives_up);
	return fails_as_cxx_says() ? handler_runs : -1;
}
