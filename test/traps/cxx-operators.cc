/*
 * cxx-operators.cc - operator new and delete in all their forms, failure by the
 * rules of C++, exceptions in threads, thread_local objects that end late
 */
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <malloc.h>

#include "helpers.h"
#include "trap.h"

namespace {

const std::size_t sizes[] = { 0,    1,     8,     15,    16,     17,      100,    1000,
			      4096, 10000, 40000, 99999, 262144, 1 << 20, 9 << 20 };
const std::size_t too_much = static_cast<std::size_t>(PTRDIFF_MAX) - 4096;

void check_object(void *p, std::size_t n, std::size_t align)
{
	CHECK(p, "%zu bytes", n);
	CHECK(reinterpret_cast<std::uintptr_t>(p) % align == 0, "%p for %zu", p, align);
	CHECK(malloc_usable_size(p) >= n, "%zu", n);
	fill(p, n, n);
}

/* ------------------------------------------------------------------- forms */

void plain_forms()
{
	for (std::size_t n : sizes) {
		void *p = ::operator new(hide_size(n));
		check_object(p, n, 16);
		::operator delete(hide(p));

		p = ::operator new[](hide_size(n));
		check_object(p, n, 16);
		::operator delete[](hide(p));

		p = ::operator new(hide_size(n), std::nothrow);
		check_object(p, n, 16);
		::operator delete(hide(p), std::nothrow);

		p = ::operator new[](hide_size(n), std::nothrow);
		check_object(p, n, 16);
		::operator delete[](hide(p), std::nothrow);

		p = ::operator new(hide_size(n));
		check_object(p, n, 16);
		::operator delete(hide(p), n);

		p = ::operator new[](hide_size(n));
		check_object(p, n, 16);
		::operator delete[](hide(p), n);
	}
	::operator delete(nullptr);
	::operator delete[](nullptr);
	::operator delete(nullptr, std::size_t(8));
	::operator delete(nullptr, std::nothrow);
}

void aligned_forms()
{
	for (std::size_t align = 1; align <= 1 << 22; align *= 2) {
		const std::align_val_t a = std::align_val_t(align);

		for (std::size_t n : sizes) {
			void *p = ::operator new(hide_size(n), a);
			check_object(p, n, align);
			::operator delete(hide(p), a);

			p = ::operator new[](hide_size(n), a);
			check_object(p, n, align);
			::operator delete[](hide(p), a);

			p = ::operator new(hide_size(n), a, std::nothrow);
			check_object(p, n, align);
			::operator delete(hide(p), a, std::nothrow);

			p = ::operator new[](hide_size(n), a, std::nothrow);
			check_object(p, n, align);
			::operator delete[](hide(p), a, std::nothrow);

			p = ::operator new(hide_size(n), a);
			check_object(p, n, align);
			::operator delete(hide(p), n, a);

			p = ::operator new[](hide_size(n), a);
			check_object(p, n, align);
			::operator delete[](hide(p), n, a);
		}
	}
	::operator delete(nullptr, std::align_val_t(64));
	::operator delete[](nullptr, std::size_t(8), std::align_val_t(64));
}

/* Old C libraries free what C++ made, and the other way round. */
void mixed_with_malloc()
{
	void *p = ::operator new(hide_size(100));
	std::free(hide(p));
	p = std::malloc(100);
	::operator delete(hide(p));
	p = ::operator new[](hide_size(100), std::align_val_t(256));
	p = std::realloc(hide(p), 5000);
	CHECK(p);
	std::free(p);
}

/* ----------------------------------------------------------------- failure */

int handler_runs;
void *reserve;

void third_time_gives_up()
{
	if (++handler_runs == 3)
		std::set_new_handler(nullptr);
}

struct own_error : std::bad_alloc {};

void throws_its_own()
{
	handler_runs++;
	throw own_error();
}

void releases_reserve()
{
	handler_runs++;
	CHECK(reserve, "the handler is asked again though memory came free");
	std::free(reserve);
	reserve = nullptr;
}

template <class F> bool throws_bad_alloc(F f)
{
	try {
		void *p = f();

		CHECK(!p, "%p", p);
		return false;
	} catch (const std::bad_alloc &) {
		return true;
	}
}

const std::align_val_t line = std::align_val_t(64);
const std::function<void *()> throwing[] = {
	[] { return ::operator new(hide_size(too_much)); },
	[] { return ::operator new[](hide_size(too_much)); },
	[] { return ::operator new(hide_size(too_much), line); },
	[] { return ::operator new[](hide_size(too_much), line); },
	[] { return ::operator new(hide_size(SIZE_MAX)); },
	[] { return ::operator new(hide_size(std::size_t(1) << 47)); },
	[] { return ::operator new(hide_size(SIZE_MAX), line); },
};
const std::function<void *()> quiet[] = {
	[] { return ::operator new(hide_size(too_much), std::nothrow); },
	[] { return ::operator new[](hide_size(too_much), std::nothrow); },
	[] { return ::operator new(hide_size(too_much), line, std::nothrow); },
	[] { return ::operator new[](hide_size(too_much), line, std::nothrow); },
};

void failure_throws()
{
	for (const auto &f : throwing)
		CHECK(throws_bad_alloc(f), "form %d", int(&f - throwing));
	for (const auto &f : quiet)
		CHECK(!throws_bad_alloc(f), "form %d", int(&f - quiet));
	/* And the heap goes on. */
	std::vector<std::string> v(1000, std::string(100, 'x'));
	CHECK(v.back().size() == 100);
}

void new_handler_runs()
{
	for (const auto &f : throwing) {
		handler_runs = 0;
		std::set_new_handler(third_time_gives_up);
		CHECK(throws_bad_alloc(f), "form %d", int(&f - throwing));
		CHECK(handler_runs == 3, "form %d: %d", int(&f - throwing), handler_runs);
	}
	for (const auto &f : quiet) {
		handler_runs = 0;
		std::set_new_handler(third_time_gives_up);
		CHECK(!throws_bad_alloc(f), "form %d", int(&f - quiet));
		CHECK(handler_runs == 3, "form %d: %d", int(&f - quiet), handler_runs);
	}
}

void new_handler_throws()
{
	handler_runs = 0;
	std::set_new_handler(throws_its_own);
	for (const auto &f : throwing) {
		bool caught = false;

		try {
			CHECK(!f());
		} catch (const own_error &) {
			caught = true;
		}
		CHECK(caught, "form %d", int(&f - throwing));
	}
	CHECK(!throws_bad_alloc(quiet[0]), "nothrow swallows what the handler throws");
	CHECK(handler_runs == int(sizeof(throwing) / sizeof(throwing[0])) + 1, "%d", handler_runs);
}

/* Runs under hard_limit:64M. */
void new_handler_makes_room()
{
	const std::size_t half = 40 << 20;

	for (int form = 0; form < 2; form++) {
		void *p;

		handler_runs = 0;
		reserve = std::malloc(half);
		CHECK(reserve);
		std::set_new_handler(releases_reserve);
		p = form ? ::operator new(hide_size(half), line) : ::operator new(hide_size(half));
		CHECK(p && handler_runs == 1, "%d", handler_runs);
		std::memset(p, 1, half);
		::operator delete(p);
	}
}

/* ----------------------------------------------------- exceptions, thread_local */

void throw_deep(int depth, std::string text)
{
	std::vector<int> ballast(depth * 10 + 1, depth);

	if (depth == 0)
		throw std::runtime_error(text);
	try {
		throw_deep(depth - 1, text + '.');
	} catch (const std::runtime_error &e) {
		if (depth % 3)
			throw;
		throw std::runtime_error(e.what() + std::string(":"));
	}
}

void throw_in_thread(unsigned index)
{
	for (int i = 0; i < 300; i++) {
		std::string wanted = std::to_string(index) + std::string(12, '.') + "::::";

		try {
			throw_deep(12, std::to_string(index));
			CHECK(false);
		} catch (const std::exception &e) {
			CHECK(wanted == e.what(), "%s", e.what());
		}
	}
}

void exceptions_in_threads()
{
	run_threads(8, throw_in_thread);
}

/* Constructed on first use, ended after pthread keys' first round or before. */
struct late {
	std::map<int, std::string> m;
	std::unique_ptr<char[]> bytes;

	late() : bytes(new char[100000])
	{
		fill(bytes.get(), 100000, 9);
	}
	~late()
	{
		const char *wrong = churn(77, 500, 50, 20000);

		CHECK(!wrong, "%s", wrong);
		for (const auto &entry : m)
			CHECK(entry.second == std::string(entry.first % 100, 'y'));
		CHECK(is_filled(bytes.get(), 100000, 9));
	}
};

thread_local late first;
thread_local late second;

void use_late(unsigned index)
{
	for (int i = 0; i < 300; i++) {
		first.m[i * int(index + 1)] = std::string(i * int(index + 1) % 100, 'y');
		second.m[i] = std::string(i % 100, 'y');
	}
}

void thread_local_objects()
{
	long early = 0, grown;

	for (int i = 0; i < 100; i++) {
		run_threads(8, use_late);
		if (i == 10)
			early = status_kib("RssAnon");
	}
	use_late(0);
	grown = status_kib("RssAnon") - early;
	/* Each has 200 KB. What the caches keep varies by some MiB. */
	CHECK(grown < 32 * 1024, "%ld KiB lost by 720 threads", grown);
}

const struct trap_case cases[] = {
	{ "plain_forms", plain_forms, nullptr, nullptr, nullptr, nullptr, 0, 0 },
	{ "aligned_forms", aligned_forms, nullptr, nullptr, nullptr, nullptr, 0, 0 },
	{ "aligned_forms_hardened", aligned_forms, "hardened:true", nullptr, nullptr, nullptr, 0, 0 },
	{ "mixed_with_malloc", mixed_with_malloc, nullptr, nullptr, nullptr, nullptr, 0, 0 },
	{ "failure_throws", failure_throws, nullptr, nullptr, nullptr, nullptr, 0, 0 },
	{ "new_handler_runs", new_handler_runs, nullptr, nullptr, nullptr, nullptr, 0, 0 },
	{ "new_handler_throws", new_handler_throws, nullptr, nullptr, nullptr, nullptr, 0, 0 },
	{ "new_handler_makes_room", new_handler_makes_room, "hard_limit:64M", nullptr, nullptr,
	  nullptr, 0, 0 },
	{ "exceptions_in_threads", exceptions_in_threads, nullptr, nullptr, nullptr, nullptr, 0, 0 },
	{ "thread_local_objects", thread_local_objects, nullptr, nullptr, nullptr, nullptr, 0, 0 },
};

} // namespace

TRAP_MAIN(cases)
