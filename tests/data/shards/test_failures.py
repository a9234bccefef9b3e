# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What is said of errors as each library raises them; others have the servers themselves."""

import re

import pytest

from xmoco_plugin.data.shards.failures import meaning, plain
from xmoco_plugin.data.shards.place import bucket, check_url
from xmoco_plugin.data.shards.store import Store

AZURE_KEY = "Zm9ydHkgbGV0dGVycyBvZiBhIGtleSB0aGF0IGlzIG5vbmU="


def error(kind: str, text: str, base: type = Exception, **facts) -> Exception:
    found = type(kind, (base,), {})(text)
    vars(found).update(facts)
    return found


@pytest.mark.parametrize(
    ("url", "found", "said"),
    [
        (
            "gs",
            error("HttpError", "Anonymous caller does not", code=401),
            "not allowed.*GOOGLE_APP",
        ),
        ("gs", OSError("Forbidden: b/x\nno right"), "not allowed .Forbidden: b/x.: "),
        ("gs", error("RefreshError", "Reauthentication is needed"), None),
        ("az", error("HttpResponseError", "Server failed", status_code=403), "not allowed.*AZURE_"),
        ("az", ValueError("Connection string is either blank"), "no credentials.*AZURE_STORAGE"),
        ("az", error("ServiceRequestError", "Cannot connect to host"), None),
        ("az", error("HttpResponseError", "busy", status_code=503), None),
        ("hf", error("HfHubHTTPError", "x", response=error("R", "", status_code=403)), "HF_TOKEN"),
        ("hf", FileNotFoundError("d/u/s (repository not found)."), "no such repository, or it is"),
        (
            "s3",
            error("NoCredentialsError", "Unable to locate"),
            "no credentials.*AWS_ACCESS_KEY_ID",
        ),
        ("s3", FileNotFoundError("The specified bucket does not exist"), "no such bucket"),
    ],
)
def test_an_error_is_said_with_its_way_out_or_asked_again(url, found, said):
    sentence = meaning(found, f"{url}://bucket/set").sentence
    if said is None:
        assert sentence is None
    else:
        with pytest.raises(ValueError, match=said):
            raise ValueError(sentence)


@pytest.mark.parametrize(
    "found",
    [
        FileNotFoundError("x"),
        error("ResourceNotFoundError", "The specified blob", status_code=404),
        error("EntryNotFoundError", "x", response=error("R", "", status_code=404)),
    ],
)
def test_a_file_that_is_not_there_is_no_failure(found):
    assert meaning(found, "az://bucket/set") == (True, None)


def test_an_error_that_another_caused_is_known_by_it():
    found = OSError("reading failed")
    found.__cause__ = error("ClientAuthenticationError", "expired", status_code=401)
    assert "not allowed" in meaning(found, "az://bucket/set").sentence


def test_no_secret_of_the_environment_or_of_a_url_is_shown(monkeypatch):
    whole = f"AccountName=a;AccountKey={AZURE_KEY};BlobEndpoint=https://a.example"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", whole)
    monkeypatch.setenv("HF_TOKEN", "hf_word")
    text = f"GET https://a.example/c/f?sv=1&sig=SIGNED with {AZURE_KEY[:-1]} and hf_word\nSECOND"
    assert plain(Exception(text)) == "GET https://a.example/c/f with *** and ***"


@pytest.mark.parametrize(
    "text",
    [
        "no answer from https://s3.example/my-credentials-set/no token/x",
        "Read timeout on s3://my-credentials-set/no token/x: stalled",
        "bucket 'my-credentials-set', key 'no token/x'",
    ],
)
def test_a_name_that_a_user_gave_says_nothing_of_an_error(text):
    assert meaning(TimeoutError(text), "s3://my-credentials-set/no token/x").sentence is None
    other = OSError(f"{text}; no credentials were given")
    assert "no credentials that can" in meaning(other, "s3://my-credentials-set/no token/x")[1]


@pytest.mark.parametrize("mark", ["", "?"])
def test_a_signature_is_hidden_whole_or_in_part(monkeypatch, mark):
    signed = "sv=2024-11-04&sig=abc%2Fdef%3D&se=2027"
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", mark + signed)
    assert plain(OSError(f"bad token {signed}")) == "bad token ***"
    assert plain(OSError("bad abc%2Fdef%3D")) == "bad ***"
    other = "/c/f?X-Amz-Date=1&X-Amz-Signature=SIGNED&sig=SIGNED"
    assert "SIGNED" not in plain(OSError(other))


def test_the_user_and_password_of_a_url_are_not_shown():
    said = "no way by http://user:pa55word@proxy:80/ and https://hf_word@hub.example/x: no@where"
    assert plain(OSError(said)) == "no way by http://proxy:80/ and https://hub.example/x: no@where"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("az://KEYKEY:SECRET@bucket/set", "credentials have no place.*AZURE_STORAGE_CONNECTION"),
        ("az://SECRET@bucket/set", "CONTAINER@ACCOUNT.blob.core.windows.net/set names an account"),
        ("hf://datasets/u/s/SECRET@x", "datasets/USER/NAME@REVISION/set names a revision"),
        ("gs://SECRET@bucket/set", "credentials have no place .*GOOGLE_APPLICATION_CREDENTIALS"),
        ("az://c@account.blob.core.windows.net/set?sig=SECRET", "credentials have no place"),
    ],
)
def test_an_at_sign_that_names_no_account_or_revision_is_refused(url, said):
    with pytest.raises(ValueError, match=said) as found:
        Store(url)
    assert "SECRET" not in str(found.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "az://c@acc.blob.core.windows.net",
            "name a bucket and a set in it, as in az://bucket@ACC",
        ),
        ("az://box@acc.blob.core.windows.net/", "name a bucket and a set in it"),
        ("abfss://c@acc.dfs.core.windows.net/x y", "c@acc.* letters, digits and"),
        ("az://box@acc.blob.core.windows.net/x\ny", "letters, digits and"),
        ("az://box@acc.blob.core.windows.net/x@y", "box@acc.*/x@y: .* letters, digits and"),
        ("hf://datasets/u/s@v 1/x", "u/s@v 1/x: .* letters, digits and"),
    ],
)
def test_a_name_with_an_account_or_revision_is_refused_for_what_is_wrong_in_it(url, said):
    assert re.search(said, found := check_url(url)), found
    assert "credentials" not in found


@pytest.mark.parametrize(
    ("url", "where"),
    [
        (
            "abfss://set-1@account.dfs.core.windows.net/a/b",
            "abfss://set-1@account.dfs.core.windows.net",
        ),
        ("az://box/a/b", "az://box"),
        ("gcs://box/a", "gcs://box"),
        ("hf://datasets/user/set@v1.0/a/b", "hf://datasets/user/set@v1.0"),
        ("hf://user/model/a", "hf://user/model"),
    ],
)
def test_the_forms_of_a_name_that_the_libraries_know_are_taken(url, where):
    assert check_url(url) is None
    assert bucket(url) == where
