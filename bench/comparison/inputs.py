"""What the whole programs work on: scripts, and files too large to keep in the
source tree. Each function writes one file; each aims at about half a second."""

PYTHON = r'''
import collections, json, re, threading

class Node:
    def __init__(self, name, parent):
        self.name, self.parent, self.children = name, parent, []

def tree(depth, parent=None):
    node = Node("node-%d" % depth, parent)
    if depth:
        node.children = [tree(depth - 1, node) for _ in range(4)]
    return node

def count(node):
    return 1 + sum(count(c) for c in node.children)

def work(seed):
    words = collections.Counter()
    for i in range(60000):
        words["word%d" % (i * seed % 9973)] += i
    text = json.dumps([{"id": i, "name": "x" * (i % 50), "tags": [str(i)] * 3}
                       for i in range(12000)])
    total = sum(len(r["name"]) for r in json.loads(text))
    numbers = sum(map(int, re.findall(r"\d+", text)))
    return len(words), total, numbers, count(tree(6))

results = [None, None]
def run(i):
    results[i] = work(7 + i)
threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
for t in threads: t.start()
for t in threads: t.join()
print(results)
'''

PERL = r'''
use strict;
my (%count, @lines);
my $state = 1;
for my $i (1 .. 60000) {
    $state = ($state * 1103515245 + 12345) % 2147483648;
    my $line = join " ", map { "w" . ($state >> $_) % 5003 } 1 .. 6;
    push @lines, $line;
    $count{$_}++ for split / /, $line;
}
my @sorted = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
my $joined = join "\n", sort @lines;
my $changed = ($joined =~ s/w(\d)(\d+)/v$2-$1/g);
my @records = map { { id => $_, name => "n$_", list => [1 .. 5] } } 1 .. 40000;
my $sum = 0;
$sum += $_->{list}[2] + length $_->{name} for @records;
print scalar(@sorted), " $changed $sum\n";
'''

NODE = r'''
const { Worker, isMainThread, parentPort } = require('worker_threads');

function work(seed) {
  let sum = 0;
  for (let round = 0; round < 3; round++) {
    const map = new Map();
    for (let i = 0; i < 40000; i++)
      map.set('key' + (i * seed), { id: i, text: 'x'.repeat(i % 60), list: [i] });
    const text = JSON.stringify([...map.values()]);
    sum += JSON.parse(text).length;
    const buffers = [];
    for (let i = 0; i < 6000; i++)
      buffers.push(Buffer.alloc(5000 + (i * 37) % 9000, i & 255));
    sum += Buffer.concat(buffers.slice(0, 1000)).length;
  }
  return sum;
}

if (isMainThread) {
  const worker = new Worker(__filename);
  const mine = work(3);
  worker.on('message', theirs => console.log(mine, theirs));
} else {
  parentPort.postMessage(work(5));
}
'''

LUA = r'''
local function tree(depth)
  if depth == 0 then return {} end
  return { left = tree(depth - 1), right = tree(depth - 1), name = "n" .. depth }
end
local function count(t)
  if not t.left then return 1 end
  return 1 + count(t.left) + count(t.right)
end
local sum, state = 0, 1
for round = 1, 6 do
  sum = sum + count(tree(14))
  local words, list = {}, {}
  for i = 1, 60000 do
    state = (state * 1103515245 + 12345) % 2147483648
    local word = "word" .. (state % 7919)
    words[word] = (words[word] or 0) + 1
    list[#list + 1] = word
  end
  local text = table.concat(list, " ")
  local changed = text:gsub("word(%d)", "w%1")
  sum = sum + #changed
  local functions = {}
  for i = 1, 20000 do functions[i] = function() return i + round end end
  for i = 1, #functions do sum = sum + functions[i]() end
end
print(sum)
'''


def script(text):
    def write(f, _random):
        f.write(text)
    return write


def sql(f, random):
    f.write("create table item(id integer primary key, name text, price real, "
            "maker int);\ncreate table maker(id integer primary key, name text);\n"
            "begin;\n")
    for i in range(300):
        f.write("insert into maker values(%d,'maker %d');\n" % (i, i))
    for i in range(40000):
        f.write("insert into item values(%d,'%s',%d,%d);\n"
                % (i, "item %d %s" % (i, "x" * random.randrange(80)),
                   random.randrange(10000), random.randrange(300)))
    f.write("commit;\ncreate index by_price on item(price);\n"
            "create index by_name on item(name, maker);\n")
    for i in range(60):
        f.write("select m.name, count(*), avg(i.price), max(i.name) from item i "
                "join maker m on m.id = i.maker where i.price between %d and %d "
                "group by m.name order by 3;\n" % (i * 100, i * 100 + 1000))
    f.write("update item set name = name || price where id % 3 = 0;\n"
            "delete from item where price < 2000;\n"
            "select count(*), sum(length(name)) from item;\n")


C_FUNCTIONS = 200


def large_c(f, random):
    """Functions with loops, branches, structures and calls of each other."""
    f.write("struct node { struct node *next; int key; double weight[4]; };\n")
    for n in range(C_FUNCTIONS):
        f.write("static int f%d(struct node *n, int a, int b)\n{\n"
                "\tint x = a, y = b;\n" % n)
        for _ in range(6):
            kind = random.randrange(4)
            value = random.randrange(1, 1000)
            if kind == 0:
                f.write("\tfor (int i = 0; i < a + %d; i++)\n"
                        "\t\tx += i * y ^ %d;\n" % (value % 17, value))
            elif kind == 1:
                f.write("\tif ((x & %d) > y)\n\t\ty -= x / %d;\n\telse\n"
                        "\t\tx = y * %d + n->key;\n" % (value, value, value))
            elif kind == 2:
                f.write("\twhile (n && n->key < x + %d) {\n"
                        "\t\tn->weight[%d] += x; n = n->next; }\n"
                        % (value, value % 4))
            else:
                f.write("\tswitch (x %% %d) {\n\tcase 0: y++; break;\n"
                        "\tcase 1: y += %d; break;\n\tdefault: x ^= y; }\n"
                        % (3 + value % 7, value))
            f.write("\tif (!n)\n\t\treturn x;\n")
        if n:
            f.write("\treturn x + f%d(n, y, x);\n}\n" % random.randrange(n))
        else:
            f.write("\treturn x + y;\n}\n")
    f.write("int top(struct node *n)\n{\n\tint sum = 0;\n")
    for n in range(0, C_FUNCTIONS, 7):
        f.write("\tsum += f%d(n, sum, %d);\n" % (n, n))
    f.write("\treturn sum;\n}\n")


def postscript(f, random):
    f.write("%!PS\n/Times-Roman findfont 9 scalefont setfont\n")
    for _ in range(6):
        for line in range(70):
            text = "".join(random.choice("abcdefghij klmnop") for _ in range(90))
            f.write("40 %d moveto (%s) show\n" % (40 + line * 10, text))
        for _ in range(400):
            f.write("newpath %d %d moveto %s curveto %.2f setgray %s\n"
                    % (random.randrange(600), random.randrange(800),
                       " ".join(str(random.randrange(800)) for _ in range(6)),
                       random.random(), random.choice(["stroke", "fill"])))
        f.write("showpage\n")


def prose(f, random):
    words = ["".join(random.choice("etaoinshrdlu") for _ in range(2 + n % 9))
             for n in range(3000)]
    written = 0
    while written < 8000000:
        line = " ".join(random.choices(words, k=12)) + "\n"
        f.write(line)
        written += len(line)


INPUTS = {
    "script.py": script(PYTHON),
    "script.pl": script(PERL),
    "script.js": script(NODE),
    "script.lua": script(LUA),
    "script.sql": sql,
    "large.c": large_c,
    "pages.ps": postscript,
    "text": prose,
}
