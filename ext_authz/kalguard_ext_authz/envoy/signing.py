"""AWS signatures: Envoy's own filter, in the upstream's chain, so that it signs what really leaves.

Rules of this file: the body is signed too (Bedrock accepts no unsigned payload), so Envoy holds it until it is
complete; it was held for the decision already. What an agent wrote into the signature's headers was removed by
ext_authz. Sources: envoy.extensions.filters.http.aws_request_signing.v3, and
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html.
"""

from __future__ import annotations

from typing import Final

from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.extensions.common.aws import v3 as aws
from envoy_data_plane.envoy.extensions.filters.http.aws_request_signing import v3 as signing
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec import v3 as codec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
from envoy_data_plane.envoy.type.matcher import v3 as matcher
from envoy_data_plane.google.protobuf import Any

SERVICE: Final = "bedrock"  # of the runtime too: its host says bedrock-runtime, its signature does not
# Changed by whatever stands between us and AWS.
_UNSIGNED: Final = ("x-envoy-", "x-forwarded-", "x-request-id", "x-amzn-trace-id", "user-agent")


def signing_filters(region: str, credentials_file: str) -> list[hcm.HttpFilter]:
    """The upstream HTTP filters that sign for `region`.

    `credentials_file`: AWS credentials file that Envoy reads; "" for AWS' usual chain (environment, file,
    container, instance).
    """
    provider = None
    if credentials_file:
        provider = aws.AwsCredentialProvider(
            custom_credential_provider_chain=True,
            credentials_file_provider=aws.CredentialsFileCredentialProvider(
                credentials_data_source=core.DataSource(filename=credentials_file)
            ),
        )
    request = signing.AwsRequestSigning(
        service_name=SERVICE,
        region=region,
        match_excluded_headers=[matcher.StringMatcher(prefix=prefix) for prefix in _UNSIGNED],
        credential_provider=provider,
    )
    return [
        hcm.HttpFilter(name="envoy.filters.http.aws_request_signing", typed_config=Any.pack(request)),
        hcm.HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=Any.pack(codec.UpstreamCodec())),
    ]
