#!/bin/bash
# All tests, in groups, so that a crash of one group does not hide the others. What is skipped is
# listed with its reason; the last line is pytest's summary of the last group, and the exit code
# is honest about all of them.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin"
build=build/test-logs
mkdir -p $build
failed=()

group() { # group NAME [PYTEST ARGUMENTS]: everything that lies in tests/NAME
    local name=$1 code
    shift
    # A group that has no test yet is not a failure; a group whose tests vanish shows in git.
    if ! find "tests/$name" -name 'test_*.py' -print -quit 2>/dev/null | grep -q .; then return; fi
    echo "== tests/$name"
    .venv/bin/python -m pytest -q -rs "tests/$name" "$@" </dev/null 2>&1 | tee "$build/$name.log"
    code=$?
    [ $code = 0 ] || failed+=("$name (exit code $code)")
}

started=$SECONDS
# More processes than cores cost more than the waits in unit tests that they would fill. Each
# module of the end-to-end tests has a lab of its own, and waits for it most of the time.
group tidy
group unit -n auto
group fuzz -n 2
group sim -n 2
for name in netns containerd; do group $name; done
group e2e -n 2 --dist loadfile

echo "== skipped"
grep -h '^SKIPPED' $build/*.log | sort -u || echo "nothing"
echo "== took $((SECONDS - started)) s"
if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: tests/%s\n' "${failed[@]}"
fi
for name in tidy unit fuzz sim netns containerd e2e; do
    [ -e $build/$name.log ] && printf '%-10s %s\n' $name "$(tail -n1 $build/$name.log)"
done
[ ${#failed[@]} = 0 ]
