// Workers, buffers, strings, json, compression; what is printed depends on nothing else.
'use strict';
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const crypto = require('crypto');
const zlib = require('zlib');

const digest = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);

function work(n) {
	let x = n + 1;
	const rnd = (below) => (x = (x * 1103515245 + 12345) % 2147483648) % below;
	const kept = new Map();
	let packed = 0;

	for (let i = 0; i < 20000; i++) {
		const key = 'k' + rnd(3000);
		const document = { i, list: Array.from({ length: rnd(12) }, (_, j) => j * i),
				   text: 'x'.repeat(rnd(200)) };

		kept.set(key, JSON.parse(JSON.stringify(document)));
		if (i % 100 === 0) {
			const buffer = Buffer.alloc(1 + rnd(200000), String(i));
			const again = zlib.inflateSync(zlib.deflateSync(buffer));

			if (!again.equals(buffer))
				throw new Error('a buffer changed');
			packed += again.length;
		}
	}
	return { n, packed, digest: digest(JSON.stringify([...kept].sort())) };
}

if (!isMainThread) {
	const shared = new Uint32Array(workerData.shared);
	const result = work(workerData.n);

	Atomics.add(shared, 0, result.packed);
	parentPort.postMessage({ result, buffer: new Uint8Array(100000).fill(workerData.n) });
} else {
	const shared = new SharedArrayBuffer(4);
	const run = (n) => new Promise((resolve, reject) => {
		const worker = new Worker(__filename, { workerData: { n, shared } });

		worker.on('message', resolve);
		worker.on('error', reject);
	});

	(async () => {
		// Two rounds, so that workers start after others have ended.
		for (let round = 0; round < 2; round++) {
			const all = await Promise.all([0, 1, 2, 3].map((n) => run(round * 4 + n)));

			for (const { result, buffer } of all)
				console.log(result.n, result.packed, result.digest, digest(buffer));
		}
		console.log('sum', new Uint32Array(shared)[0]);
		const big = Buffer.concat(Array.from({ length: 500 }, (_, i) => Buffer.alloc(i * 100, 'b' + i)));
		zlib.gzip(big, (error, packed) => {
			if (error)
				throw error;
			console.log('big', big.length, digest(zlib.gunzipSync(packed)));
		});
	})();
}
