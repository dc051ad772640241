# Hashes, regular expressions, growing strings, sorting, and threads where perl has them.
use strict;
use warnings;
use Config;

my $x = 42;
sub rnd { $x = ($x * 1103515245 + 12345) % 2147483648; return $x % $_[0]; }

my %count;
my $text = '';
for my $i (1 .. 60000) {
    my $word = join '', map { chr(97 + rnd(26)) } 1 .. 1 + rnd(12);
    $count{$word}++;
    $text .= "$word ";
}
print 'words ', scalar(keys %count), ' length ', length($text), "\n";
my @sorted = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
print "most $sorted[$_] $count{$sorted[$_]}\n" for 0 .. 4;
my $swapped = $text;
my $changes = ($swapped =~ s/\b(\w)(\w+)/$2$1/g);
print "changes $changes checksum ", unpack('%32C*', $swapped), "\n";

my @tree;
for my $i (1 .. 50000) {
    $tree[rnd(5000)] = { id => $i, list => [map { rnd(100) } 1 .. rnd(20)], name => "n$i" };
}
my $sum = 0;
$sum += $_->{id} + @{ $_->{list} } for grep { defined } @tree;
print "tree $sum\n";

my $grown = '';
$grown .= chr(65 + $_ % 26) x ($_ % 300) for 1 .. 40000;
print 'grown ', length($grown), ' ', unpack('%32C*', $grown), "\n";

if ($Config{useithreads}) {
    require threads;
    # Each thread gets a copy of everything above.
    my @threads = map {
        my $n = $_;
        threads->create(sub {
            my %own = map { $_ . $n => length } @sorted[0 .. 5000];
            delete @own{ (sort keys %own)[0 .. 2000] };
            return join ' ', $n, scalar(keys %own), scalar(keys %count);
        });
    } 1 .. 4;
    print 'thread ', $_->join, "\n" for @threads;
}
open my $pipe, '-|', $^X, '-e', 'print "child $_\n" for grep { /7/ } 1 .. 2000' or die;
my @lines = <$pipe>;
close $pipe or die;
print 'lines ', scalar(@lines), " $lines[-1]";
