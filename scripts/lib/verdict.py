"""Adds up the result files of a test run and prints the verdict line; fails when any test did, or none ran."""
import pathlib
import sys
import xml.etree.ElementTree


def main() -> int:
    results, ctest_status, seconds = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    passed = failed = skipped = 0
    for file in sorted(results.glob("*.xml")):
        suite = xml.etree.ElementTree.parse(file).getroot()
        for case in suite.iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
                print(f"failed: {case.get('classname')}.{case.get('name')}")
            elif case.get("result") == "skipped" or case.find("skipped") is not None:
                skipped += 1
                reason = case.find("skipped")
                said = (reason.get("message") or "").split("\n")[0] if reason is not None else ""
                print(f"skipped: {case.get('classname')}.{case.get('name')} {said}")
            else:
                passed += 1
    if ctest_status != 0 and failed == 0:
        failed = 1  # A program crashed or did not end before it could write what it counted.
        print("failed: a test program did not end as it should; see above")
    print(f"tests took {seconds} s")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if failed == 0 and passed > 0 else 1


sys.exit(main())
