-- Tables, indices, joins, window functions, json and a text of some MiB.
PRAGMA journal_mode = MEMORY;
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, born INTEGER, notes TEXT);
CREATE TABLE visit (person INTEGER, day INTEGER, place TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
INSERT INTO person SELECT i, printf('name-%05d', i * 7919 % 40000), 1900 + i * 31 % 120,
	substr('lorem ipsum dolor sit amet', 1 + i % 20, i % 9) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
INSERT INTO visit SELECT i * 104729 % 40000, i % 366, 'place-' || (i * 17 % 500) FROM n;
COMMIT;
CREATE INDEX visit_person ON visit (person);
CREATE INDEX person_name ON person (name);
SELECT count(*), sum(born), min(name), max(name) FROM person;
SELECT born / 10 * 10 AS decade, count(*), group_concat(DISTINCT notes) FROM person
	GROUP BY decade ORDER BY decade;
SELECT name, count(*) AS visits, group_concat(place) FROM person JOIN visit ON person = id
	WHERE name GLOB 'name-001*' GROUP BY id ORDER BY visits DESC, name LIMIT 20;
SELECT place, total, rank() OVER (ORDER BY total DESC, place) FROM
	(SELECT place, count(*) AS total FROM visit GROUP BY place) ORDER BY 3 LIMIT 10;
SELECT count(*), sum(json_array_length(j)) FROM
	(SELECT json_group_array(json_object('d', day, 'p', place)) AS j FROM visit GROUP BY person);
UPDATE person SET notes = notes || printf('%.*c', id % 200, 'x') WHERE id % 3 = 0;
DELETE FROM visit WHERE day % 5 = 0;
SELECT length(group_concat(notes, ';')), count(*) FROM person;
SELECT hex(substr(zeroblob(3000000) || 'end', -3)), length(replace(hex(zeroblob(1000000)), '00', 'abc'));
VACUUM;
PRAGMA integrity_check;
