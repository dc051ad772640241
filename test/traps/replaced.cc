/*
 * replaced.cc - a program that replaces some of the names and not the others
 *
 * C++ says which form of new and delete goes by which; the C library's
 * reallocarray goes by realloc. What this program's own functions hand out has a
 * header, so that another's free cannot take it.
 */
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "helpers.h"
#include "trap.h"

/* That the sized form is missing is what is tested. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wsized-deallocation"
#endif

namespace {

const std::uint64_t mark = 0x1d872b41a5c0f3e6;
int live, live_blocks;

struct header {
	std::uint64_t mark, bytes;
};

void *with_header(std::size_t n)
{
	header *h = static_cast<header *>(std::calloc(1, sizeof(*h) + n));

	if (!h)
		return nullptr;
	h->mark = mark;
	h->bytes = n;
	return hide(h + 1);
}

void without_header(void *p)
{
	header *h = static_cast<header *>(hide(p)) - 1;

	CHECK(h->mark == mark);
	h->mark = 0;
	std::free(h);
}

} // namespace

void *operator new(std::size_t n)
{
	void *p = n > PTRDIFF_MAX ? nullptr : with_header(n);

	if (!p)
		throw std::bad_alloc();
	live++;
	return p;
}

void operator delete(void *p) noexcept
{
	if (!p)
		return;
	live--;
	without_header(p);
}

/* Its own realloc, which others have to go by. */
extern "C" void *realloc(void *p, std::size_t n)
{
	void *q;

	if (n > PTRDIFF_MAX) {
		errno = ENOMEM;
		return nullptr;
	}
	q = with_header(n);
	if (!q || !p)
		return live_blocks += !p, q;
	for (std::size_t i = 0; i < n && i < (static_cast<header *>(hide(p)) - 1)->bytes; i++)
		static_cast<char *>(q)[i] = static_cast<char *>(p)[i];
	without_header(p);
	return q;
}

namespace {

void other_forms_go_by_them()
{
	void *p[8];

	p[0] = ::operator new(hide_size(100));
	p[1] = ::operator new(hide_size(100), std::nothrow);
	p[2] = ::operator new[](hide_size(100));
	p[3] = ::operator new[](hide_size(100), std::nothrow);
	p[4] = ::operator new(hide_size(40000));
	p[5] = ::operator new[](hide_size(5 << 20));
	p[6] = ::operator new(hide_size(0), std::nothrow);
	p[7] = ::operator new[](hide_size(1), std::nothrow);
	CHECK(live == 8, "%d", live);
	::operator delete(hide(p[0]), std::size_t(100));
	::operator delete(hide(p[1]), std::nothrow);
	::operator delete[](hide(p[2]));
	::operator delete[](hide(p[3]), std::size_t(100));
	::operator delete(hide(p[4]));
	::operator delete[](hide(p[5]), std::nothrow);
	::operator delete(hide(p[6]), std::size_t(0));
	::operator delete[](hide(p[7]));
	CHECK(live == 0, "%d", live);
}

void failure_is_theirs()
{
	bool caught = false;

	CHECK(!::operator new(hide_size(SIZE_MAX), std::nothrow));
	CHECK(!::operator new[](hide_size(SIZE_MAX), std::nothrow));
	try {
		::operator delete(::operator new[](hide_size(SIZE_MAX)));
	} catch (const std::bad_alloc &) {
		caught = true;
	}
	CHECK(caught && !live);
}

/* Those with an alignment are a family of their own. */
void aligned_forms_are_not_touched()
{
	const std::align_val_t a = std::align_val_t(256);

	::operator delete(hide(::operator new(hide_size(100), a)), std::size_t(100), a);
	::operator delete[](hide(::operator new[](hide_size(100), a)), a);
	::operator delete[](hide(::operator new[](hide_size(100), a, std::nothrow)), a, std::nothrow);
	CHECK(live == 0);
}

void reallocarray_goes_by_realloc()
{
	char *p = static_cast<char *>(::reallocarray(nullptr, hide_size(10), 10));

	CHECK(p && live_blocks == 1);
	fill(p, 100, 1);
	p = static_cast<char *>(::reallocarray(hide(p), hide_size(100), 100));
	CHECK(p && live_blocks == 1);
	without_header(p);
	errno = 0;
	CHECK(!::reallocarray(nullptr, hide_size(SIZE_MAX), 2) && errno == ENOMEM);
}

const struct trap_case cases[] = {
	{ "other_forms_go_by_them", other_forms_go_by_them, nullptr, nullptr, nullptr, nullptr, 0,
	  0 },
	{ "other_forms_go_by_them_hardened", other_forms_go_by_them, "hardened:true", nullptr,
	  nullptr, nullptr, 0, 0 },
	{ "failure_is_theirs", failure_is_theirs, nullptr, nullptr, nullptr, nullptr, 0, 0 },
	{ "aligned_forms_are_not_touched", aligned_forms_are_not_touched, nullptr, nullptr, nullptr,
	  nullptr, 0, 0 },
	{ "reallocarray_goes_by_realloc", reallocarray_goes_by_realloc, nullptr, nullptr, nullptr,
	  nullptr, 0, 0 },
};

} // namespace

TRAP_MAIN(cases)
