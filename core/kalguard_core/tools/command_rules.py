"""The rules of the command denylist: what a command looks like in a string. Data, compiled by `commands`.

Rules of this file: each pattern is for hyperscan (linear time; no look-around), caseless, on UTF-8 bytes. A rule's
name is what operators read in the audit log. `[\\s\\x1f]` is white space or the border between two strings
of one call, so that `["bash", "-c", "id"]` reads like `bash -c id`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag, auto
from typing import Final


class When(IntFlag):
    """In which circumstances a match counts."""

    ALWAYS = auto()
    UNLESS_PROSE = auto()  # not in a string that reads like a sentence (see `commands`)
    PAIR = auto()  # only together with its other half, in two strings of one call
    DECODED = auto()  # long enough to be believed in decoded base64 as well
    HINT = auto()  # finds nothing itself: says that a decoded view must be looked at


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern. Several may share a name."""

    name: str
    pattern: str
    when: When = When.ALWAYS


def _any(words: str) -> str:
    return "(?:" + "|".join(words.split()) + ")"


SHELL: Final = r"(?:ba|z|da|k|mk|pdk|a|fi|c|tc|rba|ya)?sh"
INTERPRETER: Final = (
    r"(?:python[\d.]*w?|pypy[\d.]*|perl[\d.]*|ruby[\d.]*|node(?:js)?|deno|bun|php[\d.]*|lua[\d.]*|luajit|osascript|"
    r"rscript|tclsh|groovy|julia|elixir|irb|guile|racket)"
)
# Programs that a shell would run. Split by what a lone mention in documentation may mean.
_HARMFUL: Final = (
    r"curl wget ncat netcat socat telnet ssh scp sftp rsync tftp lftp dd mkfs(?:\.\w+)? shred mkfifo chmod "
    r"chown chattr kill killall pkill useradd usermod passwd chpasswd visudo crontab insmod modprobe iptables "
    r"nft mount umount nohup setsid nsenter chroot unshare base64 xxd eval exec sudo doas su rm unlink "
    r"systemctl"
)
_COMMANDS: Final = (
    r"id whoami who w uname hostname hostnamectl ifconfig ip ls ll dir cat tac nl head tail less more tee cp "
    r"mv ln touch mkdir rmdir find locate grep egrep fgrep rg awk gawk mawk sed cut sort uniq wc tr xargs env "
    r"printenv export set unset echo printf pwd cd ps top htop pstree lsof netstat ss ping traceroute dig "
    r"nslookup host arp route nmap date cal uptime last history df du free mktemp tar gzip gunzip zip unzip "
    r"bzip2 xz cpio od hexdump strings stat file readlink realpath basename dirname which whereis type man "
    r"groups getent getcap lscpu lsblk lspci dmesg journalctl service init reboot shutdown halt poweroff sleep "
    r"seq yes watch timeout nice renice ionice strace ltrace gdb git hg svn npm npx yarn pnpm "
    r"pip\d* pipx uv gem cargo go apt apt-get apk yum dnf brew dpkg rpm docker podman kubectl helm aws gcloud "
    r"az terraform ansible vault psql mysql sqlite3 redis-cli mongo openssl gpg ssh-keygen ssh-add screen tmux "
    r"vi vim nano ed emacs busybox jq yq column rev split paste join comm diff patch test true false read "
    r"source wall write mail sendmail at batch command builtin declare net tasklist ipconfig systeminfo "
    r"certutil bitsadmin rundll32 regsvr32 mshta wmic schtasks reg"
)
COMMAND: Final = f"(?:{_any(_HARMFUL + ' ' + _COMMANDS)}|{SHELL}|{INTERPRETER}|pwsh|powershell|nc)"
_HARMFUL_ANY: Final = _any(_HARMFUL)

_W: Final = r"[\s\x1f]"
# The left border of a program's name: not in the middle of a word, a file name or an option.
_L: Final = r"(?:^|[^\w.\-])"
_E: Final = r"(?:\.exe)?"
# Options before the one that matters, each perhaps with a value.
_OPTIONS: Final = rf"(?:[\-+][^\s\x1f]+{_W}+(?:[\w:+=]+{_W}+)?)*"
_PATH: Final = r"(?:[\w.~?*\-]*/[\w./?*\-]*)?"
# Programs that run the program after them, with their options and variables.
_SUDO: Final = (
    r"(?:(?:[\w.~?*\-]*/[\w./?*\-]*)?(?:sudo|doas|env|exec|nohup|command|busybox|setsid|time|xargs|stdbuf|nice|timeout|builtin)\s+"
    r"(?:(?:-[^\s|]+|\w+=[^\s|]*|\d+[smhd]?)\s+)*)*" + _PATH
)
_THEN: Final = r"(?:[\s;|&)\"'`<>\-\x1f]|\x00|\z)"
_OPEN: Final = r"[\s\"'\\{(!]*"

ALWAYS: Final = When.ALWAYS
STRONG: Final = When.ALWAYS | When.DECODED

RULES: Final[tuple[Rule, ...]] = (
    # --- shells and interpreters that are handed a program
    # One pattern for all of them: hyperscan follows the options of a long line once instead of four times.
    Rule(
        "shell-command",
        rf"{_L}{SHELL}{_E}(?:{_W}+{_OPTIONS}(?:-[a-z]{{0,6}}c(?:{_W}|[\"'$=]|\z)|--?(?:command|init-command|rcfile)"
        rf"(?:{_W}|=)|-[a-z]{{0,4}}[is](?:{_W}|\z))|\s*<(?:<|\(|\s*[~.]{{0,2}}/)|\s+/dev/(?:stdin|fd))",
        STRONG,
    ),
    Rule("shell-command", rf"\$\{{?(?:shell|bash|0)\b\}}?\"?{_W}+{_OPTIONS}-[a-z]{{0,6}}c{_W}", STRONG),
    Rule("shell-command", rf"\bexec\s+{_PATH}{SHELL}(?:\s|\z)|{_L}wsl{_E}\s+(?:-e|--exec)\s", STRONG),
    Rule("shell-glob", rf"(?:^|[\s;|&`(])/[\w/.\-]*[?*\[][^\s\x1f]*{_W}+-[a-z]{{0,5}}c{_W}"),
    Rule("cmd-command", rf"{_L}(?:cmd{_E}|%comspec%)(?:{_W}*/[a-z](?::\w+)?)*{_W}*/[ckr](?:{_W}|[\"&(]|\z)", STRONG),
    Rule("cmd-command", rf"{_L}cmd{_E}\s*/[ck](?:calc|dir|start|powershell|whoami|type|echo|net|del|copy)\b", STRONG),
    Rule(
        "powershell-command",
        rf"{_L}(?:powershell|pwsh){_E}\b(?:{_W}+[^\s\x1f]+)*{_W}+[\-/](?:e|ec|en|enc|enco[a-z]*|c|co|com|comm[a-z]*)(?:{_W}|\z)",
        STRONG,
    ),
    Rule("powershell-command", r"-enc(?:odedcommand|odedcomman|oded)?\s+[a-z0-9+/=]{12}", STRONG),
    Rule("powershell-command", r"\b(?:invoke-expression|iex)\b\s*[($\"'\[&]", STRONG),
    Rule("powershell-command", r"\|\s*(?:iex|invoke-expression)\b", STRONG),
    Rule("powershell-command", r"\.(?:downloadstring|downloadfile|downloaddata)\s*\(", STRONG),
    Rule("powershell-command", r"\binvoke-(?:webrequest|restmethod)\b[^\n]*(?:\||;|-outfile)", STRONG),
    Rule(
        "interpreter-code",
        rf"{_L}{INTERPRETER}{_E}(?:{_W}+(?:{_OPTIONS}(?:-(?:[a-z]{{0,6}}[ce]|p|pe|r)(?:{_W}|[\"'$=]|\z)|--?eval\b|--print\b)|"
        rf"eval{_W})|\s+-?\s*(?:<<|<\())",
        STRONG,
    ),
    Rule("interpreter-code", r"\b[gmn]?awk\b[^\n]*\b(?:system\s*\(|getline\b)", STRONG),
    Rule("shell-command", rf"\x1f\n(?:[^\s\x1f]+/)?{SHELL}{_E}\n\x1f", When.PAIR),
    Rule("shell-command", rf"\x1f\n(?:[^\s\x1f]+/)?{INTERPRETER}{_E}\n\x1f", When.PAIR),
    # --- code that starts programs
    Rule("code-eval", r"(?:^|[^\w.\-])(?:eval|exec)\(\s*[^)\s]", STRONG),
    Rule(
        "code-eval",
        r"(?:^|[^\w.\-])(?:eval|exec)\s*\(\s*(?:[\"'$`\[]|atob|base64|compile|__|require|import|string\.|open|unescape|"
        r"decodeuri|bytes|codecs|requests|input|window|this\[)",
        STRONG,
    ),
    Rule(
        "code-eval",
        r"(?:window|self|globalthis|global|this|builtins|__builtins__)\s*(?:\.|\[.)\s*(?:eval|exec)\b",
        STRONG,
    ),
    Rule("code-eval", r"\.exec\s*\(\s*[\"'`]"),
    Rule("code-eval", r"\b(?:os|cp|runtime|getruntime\s*\(\s*\)|process|child|shell|pty)\s*\.\s*exec\s*\(", STRONG),
    Rule("code-eval", r"(?:^|[\s;&|`(])eval\s+[\"'$`]"),
    Rule("code-eval", r"\bnew\s+function\s*\(\s*[\"'`]", STRONG),
    Rule("code-eval", r"\bset(?:timeout|interval)\s*\(\s*[\"'`]"),
    Rule(
        "code-eval",
        r"__import__\s*\(|\bimportlib\s*\.\s*import_module\s*\(|__subclasses__\s*\(|__builtins__\s*[.\[]",
        STRONG,
    ),
    Rule("code-eval", r"\bgetattr\s*\(\s*(?:os|__builtins__|builtins|subprocess)\b", STRONG),
    Rule(
        "code-process", r"\bos\s*\.\s*(?:system|popen\d?|exec[lv]p?e?|spawn[lv]p?e?|posix_spawnp?|execute)\s*\(", STRONG
    ),
    Rule(
        "code-process",
        r"\bsubprocess\s*\.\s*(?:run|call|popen|check_call|check_output|getoutput|getstatusoutput)\b",
        STRONG,
    ),
    Rule("code-process", r"\bimport\s+subprocess\b|\bfrom\s+(?:subprocess|os|pty)\s+import\b", STRONG),
    Rule("code-process", r"\bimport\s+(?:os|pty)\s*[;,]", STRONG),
    Rule(
        "code-process", r"\bcreate_subprocess_(?:shell|exec)\s*\(|\bpty\s*\.\s*spawn\s*\(|\bshell\s*=\s*true\b", STRONG
    ),
    Rule("code-process", r"[\"'/:]child_process[\"'`]|\bchild_process\s*[)\]]", STRONG),
    Rule(
        "code-process",
        r"\bchild_process\s*\.\s*(?:exec|spawn|fork)|(?:require|import)\s*\(\s*.{0,6}child_process",
        STRONG,
    ),
    Rule(
        "code-process",
        r"\b(?:exec(?:file)?sync|spawnsync|execfile)\s*\(|\bprocess\s*\.\s*(?:binding|mainmodule)\b",
        STRONG,
    ),
    Rule(
        "code-process",
        r"\bruntime\s*\.\s*exec\b|\bgetruntime\s*\(|\bnew\s+processbuilder\b|\bprocessbuilder\s*\(",
        STRONG,
    ),
    Rule(
        "code-process",
        r"\b(?:shell_exec|passthru|proc_open|pcntl_exec|popen|shellexecute[aw]?|winexec)\s*\(\s*[^)\s]",
        STRONG,
    ),
    Rule("code-process", r"(?:^|[^\w.\-])system\s*\(\s*[\"'$]", STRONG),
    Rule(
        "code-process",
        r"\b(?:io\.popen|kernel\.(?:system|exec|spawn)|open3\.\w+|wscript\.shell|process\.start)\b",
        STRONG,
    ),
    Rule("code-process", r"\bxp_cmdshell\b|\bto\s+program\s+'|\$\{jndi:|\bstart-process\b", STRONG),
    # --- substitution
    Rule("command-substitution", rf"(?:[$<]|[\s|&]>)\({_OPEN}{_PATH}{COMMAND}(?:[\s)|;&<>\"'`{{}}/]|\z)"),
    Rule("command-substitution", r"\$\([\s\"'\\{(!]*[a-z_./~][\w.\-/]*\s+(?:-{1,2}[a-z]|[a-z0-9_./~\"'$@{])"),
    Rule("command-substitution", r"\$\([\s\"'\\]*(?:/|\./|\.\./|~/)[\w?*\[]"),
    Rule("command-substitution", r"\$\(\s*<|\$\(\s*\$[\w{@*]"),
    Rule("command-substitution", r"\$\(\s*\w+=[^)]{0,64}[;&|]"),
    Rule("variable-trick", r"\$\{?ifs\b|\$\{\w+:\d+:\d+\}|\$\{\w+@[a-z]\}|\$\{!\w+\}"),
    Rule("variable-trick", r"\$'[^'\n]*\\(?:x[0-9a-f]|[0-7]{2}|u[0-9a-f]{2})"),
    Rule("variable-trick", rf"\{{{_HARMFUL_ANY[:-1]}|cat|ls|echo|nc|id|{SHELL}|{INTERPRETER}),(?:[\-/~.$\"']|https?:)"),
    Rule("backtick-command", rf"(?:^|[^`])`{_OPEN}{_SUDO}{_HARMFUL_ANY}\s+[^\s`]"),
    Rule(
        "backtick-command",
        r"(?:^|[^`])`\s*(?:cat|head|tail|less|more|od|tac|nl|strings|find|grep|ls)\s[^`\n]*(?:/|~|\.\./|\$)",
    ),
    Rule(
        "backtick-command",
        rf"(?:^|[^`])`[^`\n]+(?:;|&&|\|)\s*{_PATH}(?:{_HARMFUL_ANY}|{SHELL}|{INTERPRETER}|nc|tee|mail|sendmail|id|whoami|env)"
        r"(?:\s[^`\n]*)?`",
    ),
    Rule(
        "backtick-command",
        rf"(?:^|[^`])(?:`{_OPEN}|```[ \t]*){_PATH}{COMMAND}(?:[\s;|&<>\"'){{}}][^`]*)?`",
        When.UNLESS_PROSE,
    ),
    # --- pipes and chains
    Rule(
        "pipe-to-shell",
        rf"(?m)^[ \t]*[^|\s][^\n]*\|&?\s*{_SUDO}(?:{SHELL}|{INTERPRETER}|pwsh|powershell|cmd){_E}{_THEN}",
        STRONG,
    ),
    Rule(
        "pipe-to-shell",
        rf"(?m)^[ \t]*\|&?\s*{_SUDO}(?:{SHELL}|{INTERPRETER}|pwsh|powershell|cmd){_E}"
        r"\s*(?:-[^\s|]*\s*)*(?:[;&)\"'`<>\n]|\z)",
    ),
    Rule("pipe-to-shell", r"\|\s*\$\{?(?:shell|bash|0)\b", STRONG),
    Rule("destruction", r"\bdd\s+(?:\w+=\S*\s+)*of=/dev/[a-z]|\bmkfs(?:\.\w+)?\s+(?:-\S+\s+)*/dev/|:\(\)\s*\{", STRONG),
    Rule("chained-command", rf"(?:;|&&|\|\||\||&)\s*{_SUDO}rm\s+(?:-[a-z\-]+\s+)*-[a-z\-]*[rf]", STRONG),
    Rule(
        "chained-command",
        rf"\brm{_W}+(?:-[a-z\-]+{_W}+)*-[a-z\-]*[rf][a-z\-]*{_W}+(?:-[a-z\-]+{_W}+)*"
        r"[\"']?(?:/|~|\*|\$home|\.\.|\./?\*|--no-preserve)",
        STRONG,
    ),
    # a connection to somewhere, a program or a script of the agent's own, behind a chain operator
    Rule(
        "chained-command",
        rf"(?:;|&&|\|)\s*{_SUDO}(?:nc|ncat|netcat|telnet)\s+(?:-[^\s|;&]+\s+)*[\w.:\-]+\s+\d{{1,5}}(?:[\s;|&<>)]|\z)",
    ),
    Rule(
        "chained-command",
        rf"(?:;|&&|\|\|)\s*{_SUDO}(?:{INTERPRETER}|source|\.)\s+(?:-[^\s|;&]+\s+)*[\"']?"
        r"(?:[~.]{0,2}/|\$|[\w./\-]+\.(?:py|pl|rb|m?js|php|lua|sh)\b)",
    ),
    Rule(
        "chained-command",
        rf"(?:;|&&|\|\|)\s*{_SUDO}(?:curl|wget|ncat|netcat|socat|ssh|scp|dd\s+if|mkfs|shred|mkfifo|chmod|chown|useradd|"
        r"usermod|passwd|crontab|killall|pkill|reboot|shutdown|halt|poweroff|insmod|whoami|nsenter|printenv|base64|xxd|"
        rf"iptables|sudo|{SHELL})(?:\s|\z)",
    ),
    Rule(
        "chained-command",
        r"(?:;|&&|\|\||\|)\s*(?:cat|head|tail|cp|tee|grep|ls|less|tar|find|echo|printf)\s[^\n]*"
        r"(?:/etc/|/root|/proc/|/home/|~/|\.ssh|\.env\b|\.aws|/var/|/tmp/)",
    ),
    Rule("chained-command", r"(?:;|&&|\|\||\|)\s*(?:id|whoami|uname(?:\s+-a)?|env|printenv)\s*(?:[;&|#\n]|\z)"),
    Rule(
        "download-and-run",
        rf"\b(?:curl|wget|fetch|aria2c)\b[^\n]*(?:\||;|&&)\s*{_SUDO}(?:{SHELL}|{INTERPRETER}|chmod|source|\.\s|\./)",
        STRONG,
    ),
    Rule("download-and-run", rf"(?:^|[\s;&|(])(?:source|\.|{SHELL}|{INTERPRETER})\s+[\"']?<\(", STRONG),
    Rule("download-and-run", r"\bbase(?:64|32)\s+(?:-d|--decode|-i?d)\b[^\n]*\|", STRONG),
    Rule("download-and-run", r"\bchmod\s+(?:[ugoa]*\+[rws]*x|[0-7]?7[0-7]{2})\s+\S+\s*(?:;|&&|\n)", STRONG),
    Rule(
        "download-and-run",
        r"\bcertutil\b[^\n]*-(?:urlcache|decode)|\bbitsadmin\b[^\n]*/transfer|\bmshta\s+(?:https?|vbscript|javascript):",
        STRONG,
    ),
    Rule("reverse-shell", r"/dev/(?:tcp|udp)/|\bmkfifo\s+\S+\s*[;&]", STRONG),
    Rule("reverse-shell", r"\b(?:nc|ncat|netcat)\b[^\n;|&]*\s\d{1,5}\b[^\n;|&]*\s-[a-z]{0,4}[ec]\s", STRONG),
    Rule("reverse-shell", r"\b(?:nc|ncat|netcat)\b[^\n;|&]*\s-[a-z]{0,4}[ec]\s[^\n;|&]*\s\d{1,5}\b", STRONG),
    Rule("reverse-shell", r"\bsocat\b[^\n]*\b(?:exec|system|pty):", STRONG),
    Rule("option-command", r"\bfind\s[^\n]*\s-(?:exec|execdir|ok|delete)\b", STRONG),
    Rule(
        "option-command",
        r"--checkpoint-action=|proxycommand=|--use-compress-program|--to-command=|core\.sshcommand=|core\.pager=|\balias\.\w+=[\"']?!|--upload-pack=|\bld_preload=",
    ),
    Rule(
        "option-command",
        rf"\bxargs\s+(?:-[^\s]+\s+(?:\{{\}}\s+|\d+\s+)?)*(?:{SHELL}|rm|curl|wget|{INTERPRETER})\b",
        STRONG,
    ),
    # --- other halves of pairs (`commands` knows that they find nothing alone)
    Rule("run-option", r"\x1f\n-[a-z]{0,6}[cer](?:[\s\x1f])", When.PAIR),
    # --- hints: which decoded views to look at
    Rule(
        "hint-quote",
        r"[\w/][\"'\\^]+[\w\-/]|[\"'\\^]{2}|[\"'\\]\w+[\"'\\]\s|\$[@*]|\$\(\)|\\\n",
        When.HINT,
    ),
    Rule("hint-list", r"[\"']\s*,\s*[\"']", When.HINT),
    Rule("hint-percent", r"%[0-9a-f]{2}", When.HINT),
    Rule(
        "hint-escape",
        r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|u\{[0-9a-f]|[0-7]{3}|[nrt])",
        When.HINT,
    ),
    Rule("hint-base64", r"[a-z0-9+/_\-]{14}", When.HINT),
)
