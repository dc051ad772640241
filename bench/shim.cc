/* Google Benchmark behind the C interface of shim.h; nothing else belongs here. */
#include "shim.h"

#include <benchmark/benchmark.h>

/* The C side only ever holds a pointer to this. */
struct bench_state {
	benchmark::State &state;
};

extern "C" void bench_register(const char *name, bench_fn *fn, const void *arg,
			       int64_t iterations)
{
	benchmark::RegisterBenchmark(name,
				     [fn, arg](benchmark::State &state) {
					     bench_state s{state};
					     fn(&s, arg);
				     })
		->Iterations(iterations)
		->MeasureProcessCPUTime()
		->UseRealTime();
}

extern "C" int bench_run(int argc, char **argv)
{
	benchmark::Initialize(&argc, argv);
	if (benchmark::ReportUnrecognizedArguments(argc, argv))
		return -1;
	return (int)benchmark::RunSpecifiedBenchmarks();
}

extern "C" bool bench_keep_running(struct bench_state *s)
{
	return s->state.KeepRunning();
}

extern "C" void bench_set_items(struct bench_state *s, int64_t items)
{
	s->state.SetItemsProcessed(items);
}

extern "C" void bench_set_counter(struct bench_state *s, const char *name,
				  double value)
{
	s->state.counters[name] = value;
}

extern "C" void bench_set_label(struct bench_state *s, const char *label)
{
	s->state.SetLabel(label);
}
