"""Credentials: from environment and netrc, to the hosts of the archive only, renewed, and never shown."""

from dataclasses import replace
from pathlib import Path

import pytest
from products.archive import Archive, running

from unclouded.acquisition.credentials import Credentials
from unclouded.acquisition.providers import PROVIDERS, Provider, find_provider
from unclouded.errors import InputError

pytestmark = pytest.mark.enable_socket  # the loopback alone
OWN = Provider("own", "https://api.example.org/stac", {"L1C": "a"}, "b", hosts=("example.org",))


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("UNCLOUDED_TOKEN", "UNCLOUDED_USER", "UNCLOUDED_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_a_token_goes_to_the_hosts_of_the_archive_over_https_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNCLOUDED_TOKEN", "abc")
    given = Credentials(OWN)
    assert given.headers("https://files.example.org/a") == {"Authorization": "Bearer abc"}
    for elsewhere in ("https://example.org.evil.net/a", "https://evilexample.org/a", "http://files.example.org/a"):
        assert given.headers(elsewhere) == {}
    assert "abc" not in repr(given)


def test_other_hosts_get_what_netrc_has_for_them(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine data.other.net login me password word\n")
    assert Credentials(OWN).headers("https://data.other.net/a") == {"Authorization": "Basic bWU6d29yZA=="}
    assert Credentials(OWN).headers("https://x.data.other.net/a") == {}
    (tmp_path / "netrc").write_text("machine a bogus secret-in-a-broken-file")
    with pytest.raises(InputError, match=r"netrc is not a valid netrc file") as refused:
        Credentials(OWN).headers("https://data.other.net/a")
    assert "secret" not in str(refused.value)


def test_user_and_password_give_tokens_which_are_renewed_before_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNCLOUDED_USER", "me")
    monkeypatch.setenv("UNCLOUDED_PASSWORD", "secret")
    now = [0.0]
    with running(Archive(token_uses=9)) as archive:
        given = Credentials(archive.provider, clock=lambda: now[0])
        place = f"{archive.address}/files/a"
        assert [given.headers(place)["Authorization"] for _ in range(2)] == ["Bearer token-1"] * 2
        now[0] = 571.0  # of 600 s, and 30 s early
        assert given.headers(place)["Authorization"] == "Bearer token-2"
        assert given.renew()
        assert given.headers(place)["Authorization"] == "Bearer token-3"
        assert archive.tokens == 3


def test_wrong_and_missing_credentials_are_named_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(Archive(token_uses=9)) as archive:
        with pytest.raises(InputError, match=r"local needs credentials, found none; set UNCLOUDED_USER and"):
            Credentials(archive.provider).require()
        monkeypatch.setenv("UNCLOUDED_USER", "me")
        monkeypatch.setenv("UNCLOUDED_PASSWORD", "wrong-password")
        with pytest.raises(InputError, match=r"gives no token \(the server answers 401.*check user and password") as no:
            Credentials(archive.provider).require()
        assert "wrong-password" not in str(no.value)
    Credentials(replace(OWN)).require()  # needs none


def test_archives_are_known_by_name_by_address_or_by_file() -> None:
    assert find_provider("copernicus").collection("L1C") == "sentinel-2-l1c"
    assert find_provider("https://stac.example.org", "s2", "s1").collection("L2A") == "s2"
    assert find_provider("items.json").radar == "sentinel-1-grd"
    assert all(one.address.startswith("https://") for one in PROVIDERS.values())
    with pytest.raises(InputError, match=r"'copernikus' is no archive; did you mean 'copernicus'"):
        find_provider("copernikus")
    with pytest.raises(InputError, match="planetary-computer has no L1C products, only L2A"):
        find_provider("planetary-computer").collection("L1C")
