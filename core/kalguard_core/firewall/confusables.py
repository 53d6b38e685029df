"""Letters of other alphabets that look like ASCII ones and have no compatibility form that says so.

Taken from the confusables of Unicode Technical Standard 39 (https://www.unicode.org/Public/security/latest/confusables.txt),
under the Unicode licence (https://www.unicode.org/license.txt, copyright Unicode, Inc.): single characters that look
like one Latin letter, from Latin, Greek, Cyrillic, Coptic, Cherokee, Lisu, Canadian syllabics and scripts no longer
written. The alphabets of living languages of Greek and Cyrillic letters are in `fold`, where each letter keeps one form
in both cases.
"""

from __future__ import annotations

from typing import Final

CONFUSABLES: Final = dict(
    zip(
        "ɑ𝛂𝛼𝜶𝝰𝞪𝚨𝛢𝜜𝝖𝞐Ꭺᗅꓮ𐊠ƄᏏᑲᖯꞴ𝚩𝛣𝜝𝝗𝞑Ᏼᗷꓐ𐊂𐊡𐌁ᴄⲥꮯ𐐽𑣲𑣩ⲤᏟꓚ𐊢𐌂𐐕𐔜ԁᏧᑯꓒᎠᗞᗪꓓꬲҽ𝚬𝛦𝜠𝝚𝞔ⴹ"
        "Ꭼꓰ𑢦𑢮𐊆ꬵꞙẝꞘ𝟊ᖴꓝ𑣂𑢢𐊇𐊥𐔥ɡᶃƍԌᏀᏳꓖһᏂ𝚮𝛨𝜢𝝜𝞖ⲎᎻᕼꓧ𐋏ı𝚤ɪɩι𝛊𝜄𝜾𝝸𝞲ꙇӏꭵᎥ𑣃ꞲᎫᒍꓙ𝚱𝛫𝜥𝝟𝞙"
        "ⲔᏦᛕꓗ𐔘𐌠Ɩǀ𝚰𝛪𝜤𝝞𝞘ⲒӀⵏᛁꓲ𐊊𐌉ⳐᏞᒪꓡ𑢣𑢲𐐛𐔦𝚳𝛭𝜧𝝡𝞛ⲘᎷᗰᛖꓟ𐊰𐌑𝚴𝛮𝜨𝝢𝞜Ⲛꓠ𐔓ᴏᴑꬽ𝛐𝜊𝝄𝝾𝞸𝛔𝜎𝝈𝞂"
        "𝞼ⲟ𐓪𑣈𑣗𐐬𑣠𝚶𝛰𝜪𝝤𝞞Ⲟⵔ𐓂ꓳ𑢵𐊒𐊫𐐄𐔖𝛒𝛠𝜌𝜚𝝆𝝔𝞀𝞎𝞺𝟈ⲣ𝚸𝛲𝜬𝝦𝞠ⲢᏢᑭꓑ𐊕ԛⵕꭇꭈᴦⲅꮁƦᎡᏒ𐒴ᖇꓣꜱƽꮪ𑣁𐑈"
        "ᏕᏚꓢ𐊖𐐠𝚻𝛵𝜯𝝩𝞣ⲦᎢꓔ𑢼𐊗𐊱𐌕ꞟᴜꭎꭒʋ𝛖𝜐𝝊𝞄𝞾𐓶𑣘𐓎ᑌꓴ𑢸ᴠ𝛎𝜈𝝂𝝼𝞶ѵꮩ𑣀ѴⴸᏙᐯꛟꓦ𑢠𐔝ɯᴡѡԝꮃ𑣯𑣦ԜᎳᏔ"
        "ꓪᕁᕽ𐌢𑣬Ꭓ𝚾𝛸𝜲𝝬𝞦Ⲭⵝᚷꓫ𐊐𐊴𐌗𐔧ɣᶌʏỿꭚℽ𝛄𝛾𝜸𝝲𝞬ү𑣜𝚼𝛶𝜰𝝪𝞤ⲨҮᎩᎽꓬ𑢤𐊲ᴢꮓ𑣄𐋵𑣥𝚭𝛧𝜡𝝛𝞕Ꮓꓜ𑢩",
        "aaaaaaaaaaaaaaabbbbbbbbbbbbbbbbcccccccccccccddddddddeeeeeeee"
        "eeeeeffffffffffffggggggghhhhhhhhhhhhiiiiiiiiiiiiiiijjjjkkkkk"
        "kkkkklllllllllllllllllllllllmmmmmmmmmmmmnnnnnnnnoooooooooooo"
        "ooooooooooooooooooooopppppppppppppppppppppqqrrrrrrrrrrrsssss"
        "sssssttttttttttttuuuuuuuuuuuuuuuuvvvvvvvvvvvvvvvvvwwwwwwwwww"
        "wxxxxxxxxxxxxxxxxxxyyyyyyyyyyyyyyyyyyyyyyyyyzzzzzzzzzzzzz",
        strict=True,
    )
)
