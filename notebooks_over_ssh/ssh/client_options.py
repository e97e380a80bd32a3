"""Every option of ssh_config(5) and how it is treated: none that makes a connection stricter is ignored."""

from collections.abc import Mapping, Sequence

from notebooks_over_ssh.errors import ConfigError

Options = Mapping[str, Sequence[str]]

HONOURED = """
    batchmode canonicaldomains canonicalizefallbacklocal canonicalizehostname canonicalizemaxdots
    canonicalizepermittedcnames casignaturealgorithms certificatefile checkhostip ciphers connecttimeout
    controlmaster controlpath globalknownhostsfile gssapiauthentication gssapiclientidentity
    gssapidelegatecredentials gssapiserveridentity gssapitrustdns hashknownhosts
    host hostkeyalgorithms hostkeyalias hostname identitiesonly identityagent
    identityfile ignoreunknown include kbdinteractiveauthentication kexalgorithms knownhostscommand loglevel macs match
    numberofpasswordprompts passwordauthentication pkcs11provider port preferredauthentications proxycommand proxyjump
    pubkeyacceptedalgorithms pubkeyauthentication rekeylimit requiredrsasize revokedhostkeys securitykeyprovider
    serveraliveinterval stricthostkeychecking tag user userknownhostsfile
    """
"""Options that take effect, in `ssh -G` or here."""

REFUSED: Mapping[str, tuple[str, ...]] = {
    "proxyusefdpass": ("no",),
    "refuseconnection": ("none",),
    "verifyhostkeydns": ("no", "false"),
}
"""Options that are not supported, and the values that have no effect; any other value is an error."""

IRRELEVANT: Mapping[str, str] = {
    "for sessions and forwarding of ssh itself": """
        clearallforwardings dynamicforward enableescapecommandline escapechar exitonforwardfailure
        forkafterauthentication forwardagent forwardx11 forwardx11timeout forwardx11trusted gatewayports localcommand
        localforward obscurekeystroketiming permitlocalcommand permitremoteopen remotecommand remoteforward requesttty
        sendenv sessiontype setenv stdinnull streamlocalbindmask streamlocalbindunlink tunnel tunneldevice xauthlocation
        channeltimeout
        """,
    "for authentication methods that are not implemented": """
        addkeystoagent enablesshkeysign gssapikexalgorithms gssapikeyexchange gssapirenewalforcesrekey
        hostbasedacceptedalgorithms hostbasedauthentication kbdinteractivedevices
        usekeychain
        """,
    "makes a connection less strict": """
        nohostauthenticationforlocalhost updatehostkeys
        """,
    "for the network or the terminal, without influence on security": """
        addressfamily bindaddress bindinterface compression connectionattempts controlpersist
        fingerprinthash ipqos logverbose serveralivecountmax syslogfacility tcpkeepalive
        versionaddendum visualhostkey warnweakcrypto
        """,
}
"""Options that are ignored, by the reason."""

# Names that earlier releases print (ssh_config(5) of OpenSSH 8.4, and of the RHEL 8 and 9 builds).
FORMER_NAMES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "hostbasedkeytypes": "hostbasedacceptedalgorithms",
    "rsaminsize": "requiredrsasize",
}


def known_options() -> frozenset[str]:
    """The names of all options in the tables above."""
    names = (HONOURED, *REFUSED, *IRRELEVANT.values())
    return frozenset(name for text in names for name in text.split())


def check_options(options: Options, host: str) -> None:
    """Raise ConfigError if an unsupported option is set."""
    for name, supported_values in REFUSED.items():
        value = next(iter(options.get(name, ())), supported_values[0])
        if value.lower() not in supported_values:
            raise ConfigError(
                f"ssh's configuration for {host} sets {name} {value}, which is not supported",
                hint=f"set it to {supported_values[0]} for {host}, or connect with ssh itself: "
                f"gateway: ssh -W %h:%p {host}",
            )
