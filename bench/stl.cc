/*
 * A C++ program as users write them: text read into strings, counted in maps,
 * sorted in vectors, shared through smart pointers, by two threads. Its output
 * depends on the input only, so that a comparison can check it.
 */
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

struct Random {
	uint64_t state;
	uint32_t below(uint32_t n)
	{
		state = state * 6364136223846793005ULL + 1442695040888963407ULL;
		return (uint32_t)((state >> 33) % n);
	}
};

std::string make_word(Random &random)
{
	std::string word;
	for (uint32_t n = 3 + random.below(24); n > 0; n--)
		word += (char)('a' + random.below(26));
	return word;
}

std::vector<std::string> make_text(Random &random, int words)
{
	std::vector<std::string> text, dictionary;
	for (int i = 0; i < words / 10; i++)
		dictionary.push_back(make_word(random));
	for (int i = 0; i < words; i++)
		text.push_back(dictionary[random.below((uint32_t)dictionary.size())]);
	return text;
}

/* Which words stand at which places, as an inverted index holds them. */
size_t index_words(const std::vector<std::string> &text)
{
	std::unordered_map<std::string, std::vector<size_t>> index;
	for (size_t i = 0; i < text.size(); i++)
		index[text[i]].push_back(i);
	std::map<std::string, std::list<size_t>> sorted;
	for (const auto &entry : index)
		sorted[entry.first].assign(entry.second.begin(), entry.second.end());
	size_t sum = 0;
	for (const auto &entry : sorted)
		sum = sum * 31 + entry.second.front() + entry.first.size();
	return sum;
}

struct Shape {
	virtual ~Shape() = default;
	virtual size_t size() const = 0;
};

struct Point : Shape {
	size_t x = 1, y = 2;
	size_t size() const override { return x + y; }
};

struct Group : Shape {
	std::vector<std::shared_ptr<Shape>> parts;
	std::string name;
	size_t size() const override
	{
		size_t sum = name.size();
		for (const auto &part : parts)
			sum += part->size();
		return sum;
	}
};

/* A graph of shared objects, grown and pruned. */
size_t shared_graph(Random &random, int steps)
{
	std::vector<std::shared_ptr<Shape>> all;
	size_t sum = 0;
	for (int i = 0; i < steps; i++) {
		if (all.size() > 2 && random.below(4) == 0) {
			auto group = std::make_shared<Group>();
			group->name = make_word(random);
			for (int k = 0; k < 3; k++)
				group->parts.push_back(
					std::make_shared<Point>());
			sum += group->size();
			all[random.below((uint32_t)all.size())] = group;
		} else {
			all.push_back(std::make_shared<Point>());
		}
		if (all.size() > 50000)
			all.erase(all.begin(), all.begin() + 25000);
	}
	return sum;
}

/* Numbers written to text and read back, with streams' own buffers. */
size_t streams(Random &random, int lines)
{
	size_t sum = 0;
	for (int i = 0; i < lines; i++) {
		std::ostringstream out;
		for (int k = 0; k < 8; k++)
			out << random.below(1000000) << ' ';
		std::istringstream in(out.str());
		for (size_t value; in >> value;)
			sum += value;
	}
	return sum;
}

size_t work(uint64_t seed, int scale)
{
	Random random{seed};
	size_t sum = 0;
	for (int i = 0; i < scale; i++) {
		std::vector<std::string> text = make_text(random, 60000);
		sum += index_words(text);
		std::sort(text.begin(), text.end());
		text.erase(std::unique(text.begin(), text.end()), text.end());
		sum += text.size();
		sum += shared_graph(random, 150000);
		sum += streams(random, 6000);
	}
	return sum;
}

} // namespace

int main(int argc, char **argv)
{
	int scale = argc > 1 ? std::atoi(argv[1]) : 3;
	size_t sum[2] = {};
	std::thread other([&sum, scale] { sum[1] = work(2, scale); });
	sum[0] = work(1, scale);
	other.join();
	std::printf("%zu %zu\n", sum[0], sum[1]);
	return 0;
}
