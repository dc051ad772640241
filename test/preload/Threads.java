import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;

/**
 * Threads that use what the virtual machine takes from malloc: direct buffers,
 * compression, code of many methods, and the threads themselves.
 */
public final class Threads {
	private static String work(int n) throws Exception {
		TreeMap<String, List<Integer>> map = new TreeMap<>();
		MessageDigest digest = MessageDigest.getInstance("SHA-256");
		int x = n + 1;

		for (int i = 0; i < 40; i++) {
			x = x * 1103515245 + 12345;
			ByteBuffer direct = ByteBuffer.allocateDirect(1 + (x >>> 8) % 300000);
			for (int at = 0; at + 4 <= direct.capacity(); at += 4)
				direct.putInt(at, at * n + i);
			digest.update(direct);

			ByteArrayOutputStream packed = new ByteArrayOutputStream();
			byte[] text = ("line " + x + "\n").repeat(500).getBytes(StandardCharsets.UTF_8);
			try (GZIPOutputStream out = new GZIPOutputStream(packed)) {
				out.write(text);
			}
			try (GZIPInputStream in =
					new GZIPInputStream(new ByteArrayInputStream(packed.toByteArray()))) {
				digest.update(in.readAllBytes());
			}
			map.computeIfAbsent("k" + (x >>> 4) % 97, k -> new ArrayList<>()).add(i);
		}
		digest.update(map.toString().getBytes(StandardCharsets.UTF_8));
		StringBuilder hex = new StringBuilder();
		for (byte b : digest.digest())
			hex.append(String.format("%02x", b));
		return n + " " + map.size() + " " + hex;
	}

	public static void main(String[] args) throws Exception {
		ExecutorService pool = Executors.newFixedThreadPool(8);
		List<Future<String>> results = new ArrayList<>();

		for (int i = 0; i < 16; i++) {
			int n = i;
			results.add(pool.submit(() -> work(n)));
		}
		for (Future<String> result : results)
			System.out.println(result.get());
		pool.shutdown();

		// Short threads, one after the other.
		int[] sum = { 0 };
		for (int i = 0; i < 500; i++) {
			int n = i;
			Thread thread = new Thread(() -> sum[0] += ByteBuffer.allocateDirect(n + 1).capacity());
			thread.start();
			thread.join();
		}
		System.out.println("sum " + sum[0]);
	}
}
