"""What goes wrong with TLS, in plain words and with what to do."""

from __future__ import annotations

import ssl

from edged.doctor.finding import Finding, error

# X.509 verification codes of OpenSSL
_EXPIRED, _NOT_YET, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64


def not_trusted(where: str, look: str, fault: ssl.SSLCertVerificationError) -> Finding:
    """Say why the certificate of the broker at `where` is not trusted; `look` is a command that shows it."""
    what = f"the certificate of {where}"
    show = f"{look} | openssl x509 -noout -subject -issuer -dates"
    if fault.verify_code == _EXPIRED:
        advice = "a new one must go on the broker; is this board's clock right?"
        return error("broker-certificate-expired", f"{what} has expired", advice, show)
    if fault.verify_code == _NOT_YET:
        text = f"{what} is not valid yet, by this board's clock"
        return error("broker-certificate-not-yet-valid", text, "most likely the clock is wrong: set it", "timedatectl")
    if fault.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
        return error("broker-certificate-name", f"{what} is for another name", "write the name that stands in it into `url`", show)
    text = f"{what} is not trusted: {fault.verify_message}"
    return error("broker-certificate-untrusted", text, "name the certificate that signed it in `ca_file`", show)


def ended(where: str, look: str, fault: ssl.SSLError) -> Finding:
    """Say why the broker at `where` ended a TLS connection that had begun."""
    reason = reason_of(fault)
    if "certificate" in reason or reason.endswith("unknown ca"):
        text = f"{where} refuses this board's certificate, or wants one: {reason}"
        return error("broker-wants-certificate", text, "name one that the broker knows in `cert_file` and `key_file`", look)
    return error("broker-no-tls", f"{where} ends TLS: {reason}", "see the broker's log", look)


def reason_of(fault: OSError) -> str:
    """Give the words of OpenSSL, or of the system."""
    if isinstance(fault, ssl.SSLError) and fault.reason:
        return fault.reason.lower().replace("_", " ")
    return fault.strerror or str(fault) or type(fault).__name__
