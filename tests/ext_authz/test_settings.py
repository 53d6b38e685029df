"""What an operator may say, and what is said back."""

from __future__ import annotations

from pathlib import Path

import pytest

from kalguard_ext_authz.settings import Settings, SettingsError, host_port, load_settings

GOOD_SECRET = "s" * 40


def test_the_defaults_are_those_of_the_original_where_they_are_safe() -> None:
    settings, warnings = load_settings({})
    assert (settings.host, settings.port) == ("0.0.0.0", 9292)
    assert (settings.prompt_block_threshold, settings.prompt_sanitize_threshold) == (70, 50)
    assert settings.tool_rate_limit is None
    assert settings.policy_default_deny
    assert settings.policy_watch, "a deviation: the original does not watch its policy by default"
    assert settings.grpc_address == "unix:///run/kalguard/authz.sock"
    assert warnings == []


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"KALGUARD_PORT": "http"}, "KALGUARD_PORT: must be a valid integer"),
        ({"KALGUARD_PORT": "70000"}, "KALGUARD_PORT: must be less than or equal to 65535"),
        ({"KALGUARD_POLICY_WATCH": "yes"}, "KALGUARD_POLICY_WATCH: must be true or false"),
        ({"KALGUARD_POLICY_DEFAULT_DENY": "false"}, "KALGUARD_POLICY_DEFAULT_ALLOW_CONFIRMED=true"),
        ({"KALGUARD_API_KEY": "kg_live_x"}, "KALGUARD_API_KEY: there is no cloud connector"),
        ({"KALGUARD_AUDIT_SINK": "file"}, "KALGUARD_AUDIT_SINK: 'file' needs KALGUARD_AUDIT_LOG_PATH"),
        (
            {"KALGUARD_AUDIT_FSYNC": "sometimes"},
            "KALGUARD_AUDIT_FSYNC: must be 'always', 'interval' or 'never'",
        ),
        ({"KALGUARD_TOOL_RATE_LIMIT": "0"}, "KALGUARD_TOOL_RATE_LIMIT: must be greater than or equal to 1"),
        ({"KALGUARD_ADMIN_ADDRESS": "127.0.0.1:9294"}, "KALGUARD_ADMIN_TOKEN: the admin API on TCP needs"),
        ({"KALGUARD_ADMIN_TOKEN": "short"}, "KALGUARD_ADMIN_TOKEN: must have 32 characters"),
        ({"KALGUARD_GRPC_ADDRESS": "offf"}, "KALGUARD_GRPC_ADDRESS: 'offf' is neither host:port nor unix:///path"),
        ({"KALGUARD_METRICS_ADDRESS": "9293"}, "KALGUARD_METRICS_ADDRESS: '9293' is neither"),
        ({"KALGUARD_ADMIN_ADDRESS": "unix://"}, "KALGUARD_ADMIN_ADDRESS: 'unix://' is neither"),
        ({"KALGUARD_GRPC_TLS_CERT": "/c.pem"}, "KALGUARD_GRPC_TLS_CERT: certificate and key"),
        ({"KALGUARD_PROMPT_SANITIZE_THRESHOLD": "90"}, "KALGUARD_PROMPT_SANITIZE_THRESHOLD: must not be above"),
        (
            {"KALGUARD_TOKEN_SECRET": GOOD_SECRET, "KALGUARD_TOKEN_SECRET_FILE": "/s"},
            "KALGUARD_TOKEN_SECRET_FILE: set it or KALGUARD_TOKEN_SECRET, not both",
        ),
    ],
)
def test_a_bad_value_stops_the_start_and_names_the_variable(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    config = tmp_path / "kalguard.yaml"
    config.write_text("port: 1000\nhost: 127.0.0.1\n")
    settings, _ = load_settings({"KALGUARD_PORT": "2000"}, config)
    assert (settings.host, settings.port, settings.log_level) == ("127.0.0.1", 2000, "info")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port: 1\nprot: 2\n", "kalguard.yaml:2: prot: not a setting; did you mean port?"),
        ("host: 127.0.0.1\nport: http\n", "kalguard.yaml:2: port: must be a valid integer"),
        ("port: 1\nport: 2\n", "kalguard.yaml:2: port: the key appears twice"),
        ("- 1\n", "kalguard.yaml:1: expected `name: value` lines"),
        ("port: [\n", "not valid YAML"),
    ],
)
def test_a_bad_file_stops_the_start_and_names_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "kalguard.yaml"
    config.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings({}, config)
    assert message in str(caught.value)


def test_a_missing_settings_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_settings({"KALGUARD_CONFIG": str(tmp_path / "nowhere.yaml")})


def test_a_misspelled_variable_is_pointed_out() -> None:
    _, warnings = load_settings({"KALGUARD_POLICY_PATHS": "/p"})
    assert warnings == ["KALGUARD_POLICY_PATHS is not a setting and is ignored; did you mean KALGUARD_POLICY_PATH?"]


def test_an_empty_variable_counts_as_not_set() -> None:
    settings, _ = load_settings({"KALGUARD_TOOL_RATE_LIMIT": "", "KALGUARD_POLICY_PATH": ""})
    assert settings.tool_rate_limit is None
    assert settings.policy_path is None


def test_secrets_do_not_show() -> None:
    settings, _ = load_settings({"KALGUARD_TOKEN_SECRET": GOOD_SECRET, "KALGUARD_ADMIN_TOKEN": "o" * 40})
    shown = settings.redacted()
    assert shown["token_secret"] == shown["admin_token"] == "[redacted]"
    assert GOOD_SECRET not in repr(settings)
    assert GOOD_SECRET not in str(shown)


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("address", ["", "9191", ":9191", "host:", "host:x", "host:99999", "host:-1", "host:٣"])
def test_an_address_that_is_neither_host_and_port_nor_a_socket_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="KALGUARD_X"):
        host_port(address, "KALGUARD_X")


def test_an_ipv6_address_is_written_in_brackets() -> None:
    assert host_port("[::1]:9191", "KALGUARD_X") == ("::1", 9191)
