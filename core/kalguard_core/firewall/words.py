"""Words by which disguised text is told from noise: the vocabulary of attacks, and what stands between it."""

from __future__ import annotations

from typing import Final

# Read in reverse, shifted and cut, these are hardly ever anything else. Folded, five letters and more.
TELLING: Final = tuple(
    """
    ignore ignores ignoring previous instruction instructions prompt prompts system reveal disregard forget override
    bypass password passwords secret secrets guidelines restrictions developer jailbreak unrestricted confidential
    credentials execute command commands pretend assistant following above earlier prior output print repeat
    anweisungen ignoriere vorherigen instrucciones ignora anteriores instrucoes instructions istruzioni precedenti
    instructies talimatlari polecenia precedentes
    """.split()
)

# What spaced letters without gaps are cut into, and what words cut by a separator are put together to.
KNOWN: Final = frozenset(
    """
    a about above absolutely access according account across act acting action actions actually add address admin
    administrator after again against ai all allow allowed already also always am an and answer any anyone anything api
    appear apply are as ask asked asks assistant at away be because become been before begin behave being below best
    between bomb both break build but by bypass call can cannot card cards change character chat code command commands
    complete completely confidential constraints contact content contents context conversation could create credentials
    credit critical dan data database day delete describe detail details developer did different directive directives
    disable discard display disregard do document does dont drop drugs during each earlier edit email emails else enable
    end enter entire environment error even ever every everything exactly example except execute explain explosive file
    files filter filters find first follow following for force forget format found free freely from full function
    further generate get give given go god good grant guardrails guidance guide guideline guidelines hack had harmful has
    hate have he help her here hidden him his home how i if ignore ignored ignores ignoring illegal imagine immediately
    important in information initial initially input inputs inside instead instruct instructed instruction instructions
    internal into is it its jailbreak just keep key keys kill know language last later leak let limit limitations limits
    like line link list log longer made main make malware manner many may me means memory message messages method mode
    model moral more must my name need never new next no not nothing now number of off ok old on once one only open or
    order orders original other others our out output outputs over override own page part password passwords past people
    perform permission permissions person personal phone please poison policies policy post pretend previous
    previously print prior private privileged proceed process produce program programming programmed prompt prompts
    protection protocol provide provided public put question questions read real really reject remember remove repeat
    replace reply report request requests respond response responses restriction restrictions result return reveal right
    role root rule rules run safe safeguards safety said same save say search secret secrets section security see send
    sensitive sentence server session set shall share she shell should show shown since so some someone something speak
    ssn start started state step steps stop story such switch system systems take task tasks tell text than that the
    their them then there these they thing things think this those through time to today told token tokens tool tools
    top translate true two under unfiltered unlimited unrestricted until up upload url us use used user users using
    verbatim very via virus want was way we weapon website were what when where which while who why will with without
    word words work world would write written wrong you your yourself
    """.split()
)
LONGEST: Final = max(map(len, KNOWN))
