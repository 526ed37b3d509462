from tlx.classify.findings.finding import Flagged, Kind


def test_a_finding_has_the_code_and_the_name_of_its_kind():
    kind = Kind("TLX999", "odd-one", "what is odd", lambda evidence: ())
    found = kind.finding("note", "1 is odd.", "Look.", value=1.0, images=(Flagged("a", "b"),))
    assert (found.code, found.name, found.severity, found.value) == ("TLX999", "odd-one", "note", 1)
    assert found.images[0].path == "a"
