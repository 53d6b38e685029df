"""Words by which disguised text is told from noise: the vocabulary of attacks, and what stands between it."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> list[str]:
    return text.split()


# Read in reverse, shifted and cut, these are hardly ever anything else. Folded, five letters and more.
TELLING: Final = tuple(
    _words("""
    ignore ignores ignoring previous instruction instructions prompt prompts system reveal disregard forget override
    bypass password passwords secret secrets guidelines restrictions developer jailbreak unrestricted confidential
    credentials execute command commands pretend assistant following above earlier prior output print repeat
    anweisungen ignoriere vorherigen instrucciones ignora anteriores instrucoes instructions istruzioni precedenti
    instructies talimatlari polecenia precedentes
    """)
)

# The same, of six letters and more, for what turns whole texts round: what such texts say besides, and the beginnings
# of their words in other languages.
TELLING_TOO: Final = tuple(
    _words("""
    without anything everything conversation character message messages filters limits policy policies safety ethics
    ethical answer request refuse simulat persona respond response guideline creator programm training chatgpt filter
    unfilter uncensor unlimit unbound original initial directive hidden private internal harmful illegal dangerous
    disable disobey delete forward administrator protocol conscience immoral amoral behave complete entire exactly
    verbatim translate include immediately please should always allowed forbid forbidden freely longer roleplay
    unleash restrict neglect discard dismiss abandon constrain obedien comply compliance language describe explain
    display disclos confess document account customer website transfer approve certain another someone whatever
    question continue between because already against nothing removed enabled activat deactivat consequences warning
    disclaimer apolog moderat censor permission authoriz authoris override overrul replac secretly
    ignorier missacht vergiss anweisung bisherig vorgaben einschrankung geheime entwickler passwort wortlaut antwort
    verrat systemprompt verweiger regeln befehl richtlinien beschrankung
    oublie consigne precedent affiche desormais restriction filtre revele secrete limites invite
    instruccion anterior mensaje sistema olvida reglas restriccion ordenes obedece revela secretas contrasena muestra
    instruc instruco ignore todas esqueca regras restricao responda senha
    istruzion dimentica regole restrizion mostra segret risposta
    negeer eerdere instructie vergeet beperking gedraag wachtwoord systeem
    zignoruj ignoruj wszystkie poprzedni instrukc zapomnij ogranicze zasady pokaz
    talimat onceki sinirla kurallar goster gizli unutun
    abaikan sebelumnya instruksi perintah aturan batasan tampilkan rahasia
    ignorer tidligere tidigare instruksjon instruktion hemliga begrens visa
    instrukce predchozi omezeni zapomen pravidla utasitas korabbi szabaly korlatoz
    """)
)

# What spaced letters without gaps are cut into, and what words cut by a separator are put together to.
KNOWN: Final = frozenset(
    _words("""
    a aborted about above absolutely accept access accomplice according account across act acting action actions actual
    actually add address admin administrator after afterwards again against agent agents ai alert all alle allow allowed
    alone already also always am amoral an and anonymous answer anteriores anweisungen any anymore anyone anything api
    appear apply approve are around as ask asked asks assistant at attached attacker authorised authorized avoid away
    bank based basic be because become been before begin beginning behave being believe below best between bind
    bisherigen bomb both boundaries box break breaks build but by bypass bypassing call can cancelled cannot card cards
    care censor censored censorship certain chains chance change character chat child clear client close code comes
    command commands companion complete completely comply computer conditions confidential confirm conscience consider
    constraint constraints contact contain content contents context continue control conversation copy correct could
    create creator creators credentials credit crime criminal criteria critical cruel customer customers dan dangerous
    data database day dear deceive decline defines deine deinen delete deny deployed describe description detail details
    developer devil did different directive directives disable discard disclaimer disclaimers disclose discount dismiss
    disobey display disregard disregarding do document documents does dont drop drugs drunken during each earlier
    earliest easy edit else email emails emergency employees employer enable enabled encode encoded end endless enemy
    enough enter entire environment error escape escaped essay ethical ethics even ever every everything evil exact
    exactly example except execute expert explain explicit explosive express extract face fact fail fake false family
    far fear fictional file files filter filters final find finish fire first follow following for forbade forbidden
    force forget format forward found free freedom freely friend from full function functions further game generate get
    give given gives go goal god goes gone good grandmother grant guardrails guards guidance guide guided guideline
    guidelines hack hacked hacker hacking had hand harmful has hate have he hear hello help her here hero hidden him
    hint his home house how humans hundred i idea ideas if ignore ignored ignores ignoriere ignoring illegal imagine
    immediately immoral important in information initial initially input inputs inside instead instrucciones instrucoes
    instruct instructed instruction instructions intended internal into is issue istruzioni it item its jail jailbreak
    job joke just keep key keys kill kind know knows lack language last later latest law lawful laws lead leak leaked
    legal length less let letter letters lies life lifted light like limit limitations limits line link list listen live
    living local lock log longer looking lose love lower machine made main make malware manager manner many mastermind
    matter may maybe me mean means member memory mention message messages method might mind minds mode model moment
    money moral morality morals more moved must my name names nature need network never new next night no nobody normal
    normally not note notes nothing notice now number obey objective obtain of off offensive often ohne ok old on once
    one only open openai operator option or order orders original other others our out output outputs outside over
    override own owner page pages paragraph part partner passed password passwords past pause pay people perfect perform
    permission permissions person persona personal personality phishing phone phrase pick pirate place plan play please
    poem point poison policies policy possible post power precede precedentes precedenti preceding prefix present press
    pretend prevent previous previously principles print prior private privileged problem proceed process produce
    product products program programmed programming promise prompt prompts proper protection protocol provide provided
    public purchase purpose put quality question questions quick quote raw reach read reader ready real reality really
    reason receive received recommend record records refund refusal refusals refuse refused refuses regard regarding
    regeln reglas regles regole regular reject relevant remember remove removed repeat replace reply report request
    requests required researcher reset respect respond response responses restrict restricted restriction restrictions
    result return reveal review revoke right rogue role roleplay root rude rule rules run safe safeguards safety said
    same sans save say scenario score script search secret secrets section security see sell send sends sensitive
    sentence senza server session set sexual shall share she shell should show shown sign simple simulate simulation sin
    since situation so social some someone something source speak speaks special ssn stands start started starting state
    stated stay steal step steps still stolen stop stopped story strict subject submit such sudo suggest summarise
    summarize summary support sure suspend suspended swear switch system systems take talk target task tasks teach tell
    terminal terms tes test text than thanks that the theft their them then there these they thing things think third
    this those though thought three through time times to todas today token tokens told tone tool tools top total toutes
    train trained training transfer translate translation tricks trickster true trust truth turn tutte twice twin two
    type unbound uncensored unchained under unethical unfiltered unhinged unlimited unlock unrestricted until untrue up
    update upload url us use used useful user username users using value verbatim vergiss version very via violate
    violence violent virus visit voice void want wants warn warning warnings was watch way we weapon weapons website
    welcome were what whatever when where which while who whole why will wipe wish with withhold without word worded
    words work world worst would write written wrong yes you younger your yourself zeige
    """)
)
LONGEST: Final = max(map(len, KNOWN))
