<?php
/* PHP: its own allocator off, so that each value is a malloc; extensions, serialising. */
$words = [];
for ($i = 0; $i < 100000; $i++)
	$words["k$i"] = str_repeat(chr(97 + $i % 26), $i % 100);
ksort($words);
$json = json_encode($words);
echo strlen($json), ' ', md5($json), "\n";
var_dump(json_decode($json, true) === $words);
var_dump(unserialize(serialize($words)) === $words);
echo count(array_unique(array_map('strrev', $words))), "\n";
echo preg_replace_callback('/(\d+)/', fn($m) => $m[1] * 2, 'a1b22c333'), "\n";
foreach (get_loaded_extensions() as $name)
	(new ReflectionExtension($name))->getINIEntries();
function sequence($n) { for ($i = 0; $i < $n; $i++) yield $i => str_pad((string)$i, 50); }
$bytes = 0;
foreach (sequence(50000) as $text)
	$bytes += strlen($text);
echo $bytes, "\n";
try {
	throw new RuntimeException(str_repeat('x', 1000));
} catch (Exception $e) {
	echo strlen($e->getMessage()), "\n";
}
