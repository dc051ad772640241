/*
 * A C++ program as they are written: containers, strings, shared objects that go
 * from thread to thread, exceptions. Knows nothing of the allocator, and prints
 * the same whatever the order of its threads.
 */
#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

struct message {
	unsigned from;
	std::vector<std::string> words;
	std::shared_ptr<std::map<int, std::string>> shared;
};

class queue {
public:
	void put(std::unique_ptr<message> m)
	{
		std::lock_guard<std::mutex> guard(lock_);
		messages_.push_back(std::move(m));
		changed_.notify_one();
	}

	std::unique_ptr<message> take()
	{
		std::unique_lock<std::mutex> guard(lock_);
		changed_.wait(guard, [this] { return !messages_.empty(); });
		auto m = std::move(messages_.front());
		messages_.pop_front();
		return m;
	}

private:
	std::mutex lock_;
	std::condition_variable changed_;
	std::deque<std::unique_ptr<message>> messages_;
};

struct refused : std::runtime_error {
	using std::runtime_error::runtime_error;
};

std::size_t weigh(const message &m)
{
	std::ostringstream all;

	for (const auto &word : m.words) {
		if (word.size() == 13)
			throw refused("of size 13: " + word);
		all << word << ' ';
	}
	for (const auto &entry : *m.shared)
		all << entry.first << '=' << entry.second << ';';
	return std::hash<std::string>()(all.str()) & 0xffffff;
}

void produce(unsigned index, queue &to, unsigned nr)
{
	std::mt19937 random(index);

	for (unsigned i = 0; i < nr; i++) {
		auto m = std::make_unique<message>();

		m->from = index;
		m->shared = std::make_shared<std::map<int, std::string>>();
		for (unsigned j = random() % 20; j > 0; j--) {
			m->words.emplace_back(random() % 40, char('a' + j));
			(*m->shared)[int(random() % 100)] = std::to_string(j);
		}
		to.put(std::move(m));
	}
}

struct totals {
	std::uint64_t weight = 0;
	unsigned taken = 0, refused_ones = 0;
	std::unordered_map<std::string, unsigned> counts;
};

totals consume(queue &from, unsigned nr)
{
	totals t;
	std::list<std::unique_ptr<message>> kept;

	for (unsigned i = 0; i < nr; i++) {
		auto m = from.take();

		t.taken++;
		try {
			t.weight += weigh(*m);
			for (auto &word : m->words)
				t.counts[word]++;
		} catch (const refused &) {
			t.refused_ones++;
		}
		kept.push_back(std::move(m));
		if (kept.size() > 100)
			kept.pop_front();
	}
	return t;
}

} // namespace

int main()
{
	const unsigned nr_producers = 4, nr_consumers = 4, nr_each = 20000;
	queue q;
	std::vector<std::thread> producers;
	std::vector<std::future<totals>> consumers;
	totals sum;
	std::map<std::string, unsigned> counts;

	for (unsigned i = 0; i < nr_consumers; i++)
		consumers.push_back(std::async(std::launch::async, consume, std::ref(q), nr_each));
	for (unsigned i = 0; i < nr_producers; i++)
		producers.emplace_back(produce, i, std::ref(q), nr_each);
	for (auto &thread : producers)
		thread.join();
	for (auto &consumer : consumers) {
		totals t = consumer.get();

		sum.weight += t.weight;
		sum.taken += t.taken;
		sum.refused_ones += t.refused_ones;
		for (const auto &entry : t.counts)
			counts[entry.first] += entry.second;
	}
	std::printf("%u taken, %u refused, weight %llu, %zu words\n", sum.taken, sum.refused_ones,
		    static_cast<unsigned long long>(sum.weight), counts.size());

	std::vector<std::string> sorted;
	for (const auto &entry : counts)
		sorted.push_back(entry.first + ":" + std::to_string(entry.second));
	std::sort(sorted.rbegin(), sorted.rend());
	for (std::size_t i = 0; i < 5; i++)
		std::printf("%s\n", sorted[i].c_str());
	try {
		std::vector<int>().at(5);
	} catch (const std::out_of_range &) {
		std::printf("out of range\n");
	}
	return 0;
}
