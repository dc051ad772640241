# git-steps.sh DIRECTORY: a repository from its first commit to a clone and its log.
# Names and dates are fixed, so the hashes printed are, too.
set -eu
mkdir "$1"
cd "$1"
export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org
export GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@example.org

git -c init.defaultBranch=trunk init -q original
cd original
git config gc.auto 0
git config pack.threads 2

commit() {
	export GIT_AUTHOR_DATE="1700000$1 +0000" GIT_COMMITTER_DATE="1700000$1 +0000"
	git add -A
	git commit -q -m "$2"
}

i=100
while [ $i -lt 130 ]; do
	mkdir -p "d$((i % 7))"
	awk -v n=$i 'BEGIN { for (j = 0; j < 400; j++) print j % 13 ? "line " j : "line " j " of " n }' \
		>"d$((i % 7))/f$((i % 11))"
	echo "$i" >>log
	commit $i "change $i"
	i=$((i + 1))
done
git checkout -q -b side HEAD~10
echo side >side
commit 200 'on the side'
git checkout -q trunk
export GIT_AUTHOR_DATE='1700000300 +0000' GIT_COMMITTER_DATE='1700000300 +0000'
git merge -q -m merge side
git gc -q --aggressive
git fsck --strict --full

cd ..
git clone -q --no-local original copy
cd copy
git log --stat --format='%H %s'
git log -p --follow d3/f3 | git hash-object --stdin
git blame -s log | git hash-object --stdin
git grep -n 'line 26' | wc -l
git diff HEAD~20 --stat
git rev-parse HEAD
