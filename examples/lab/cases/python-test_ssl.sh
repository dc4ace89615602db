# needs: python3-test
# limit: 200
# may-fail
# One line a test, as Python's own runner tells it; a test may fail here, if it does so both ways.
client() {
	"$PYTHON" "$PROGRAMS/regrtest.py" "$CLIENT" -v -i '*VSOCK*' --timeout 200 test_ssl >log 2>&1
	status=$?
	# What a test prints, or a thread at the same time, may stand between its name and its result.
	grep -aoE '^[A-Za-z0-9_]+ \(test\.[A-Za-z0-9_.]+\)' log | sort
	grep -aE '^(FAIL|ERROR):|^Ran [0-9]+ test|^(OK|FAILED)( |$)|^Tests result' log | sed 's/ in [0-9.]*s$//' | sort
	exit $status
}
