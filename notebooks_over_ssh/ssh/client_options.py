"""Every option of ssh_config(5), and what becomes of it here: none that asks for more care is passed over in silence."""

from collections.abc import Mapping, Sequence

from notebooks_over_ssh.errors import ConfigError

Options = Mapping[str, Sequence[str]]

HONOURED = """
    batchmode canonicaldomains canonicalizefallbacklocal canonicalizehostname canonicalizemaxdots
    canonicalizepermittedcnames casignaturealgorithms certificatefile checkhostip ciphers connecttimeout
    globalknownhostsfile hashknownhosts host hostkeyalgorithms hostkeyalias hostname identitiesonly identityagent
    identityfile ignoreunknown include kbdinteractiveauthentication kexalgorithms knownhostscommand loglevel macs match
    numberofpasswordprompts passwordauthentication port preferredauthentications proxycommand proxyjump rekeylimit
    pubkeyacceptedalgorithms pubkeyauthentication requiredrsasize revokedhostkeys serveraliveinterval
    stricthostkeychecking tag user userknownhostsfile
    """
"""These count, by what `ssh` makes of them before it prints them or by what is done here."""

REFUSED: Mapping[str, tuple[str, ...]] = {
    "proxyusefdpass": ("no",),
    "refuseconnection": ("none",),
    "verifyhostkeydns": ("no", "false"),
}
"""These are refused by name with any other value than the given ones: they cannot be kept here."""

IRRELEVANT: Mapping[str, str] = {
    "no session or forwarding of ssh's own is opened": """
        clearallforwardings dynamicforward enableescapecommandline escapechar exitonforwardfailure forkafterauthentication
        forwardagent forwardx11 forwardx11timeout forwardx11trusted gatewayports localcommand localforward
        obscurekeystroketiming permitlocalcommand permitremoteopen remotecommand remoteforward requesttty sendenv
        sessiontype setenv stdinnull streamlocalbindmask streamlocalbindunlink tunnel tunneldevice xauthlocation
        channeltimeout
        """,
    "a way to log in that is not used": """
        addkeystoagent enablesshkeysign gssapiauthentication gssapiclientidentity gssapidelegatecredentials
        gssapikexalgorithms gssapikeyexchange gssapirenewalforcesrekey gssapiserveridentity gssapitrustdns
        hostbasedacceptedalgorithms hostbasedauthentication kbdinteractivedevices pkcs11provider securitykeyprovider
        usekeychain
        """,
    "it asks for less care": """
        nohostauthenticationforlocalhost updatehostkeys
        """,
    "how the network or the terminal is used, not whom to trust": """
        addressfamily bindaddress bindinterface compression connectionattempts controlmaster controlpath controlpersist
        fingerprinthash ipqos logverbose serveralivecountmax syslogfacility tcpkeepalive
        versionaddendum visualhostkey warnweakcrypto
        """,
}
"""These are left alone, each for its reason."""

# The names that earlier releases print (ssh_config(5) of OpenSSH 8.4, and of the RHEL 8 and 9 builds).
FORMER_NAMES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "hostbasedkeytypes": "hostbasedacceptedalgorithms",
    "rsaminsize": "requiredrsasize",
}


def known_options() -> frozenset[str]:
    """Every option of which it is known what becomes of it."""
    names = (HONOURED, *REFUSED, *IRRELEVANT.values())
    return frozenset(name for text in names for name in text.split())


def check_options(options: Options, host: str) -> None:
    """Raise ConfigError for an option that asks for more care than there is here."""
    for name, accepted in REFUSED.items():
        value = next(iter(options.get(name, ())), accepted[0])
        if value.lower() not in accepted:
            raise ConfigError(
                f"ssh's configuration for {host} has {name} {value}, which cannot be kept here",
                hint=f"set it to {accepted[0]} for {host}, or let ssh itself be the way: gateway: ssh -W %h:%p {host}",
            )
