//! Alphabets: which characters a sequence may hold and what each means as a one-hot row.
//!
//! An ambiguity code is a set of letters and becomes equal fractions: `N` in DNA is ¼ of each base, `R` is ½ A and ½ G.
//! Codes follow IUPAC-IUB (Cornish-Bowden 1985 for nucleotides; IUPAC-IUB 1984 for amino acids). Lower case (soft-masked)
//! letters are read like upper case. Nothing is guessed: `U` in DNA is an error with a suggestion, a gap is an error.
//!
//! Inside, a letter is a byte code: codes below `len()` are the letters themselves, the rest ambiguity codes.

/// What a byte of text means.
const NOT_A_LETTER: u8 = u8::MAX;

/// The letters of a kind of sequence, in the order of their indices.
#[derive(Clone, Debug, PartialEq)]
pub struct Alphabet {
    name: String,
    letters: Vec<String>,
    /// For one-character alphabets: byte of the text to code.
    code_of_byte: Box<[u8; 256]>,
    /// Ambiguity codes: the character and the letters it stands for. Their code is `letters.len()` plus the position here.
    ambiguous: Vec<(char, Vec<u8>)>,
}

impl Alphabet {
    /// `DNA`: A C G T, with the IUPAC ambiguity codes.
    pub fn dna() -> Self {
        Alphabet::nucleotides("DNA", "T")
    }

    /// `RNA`: A C G U, with the IUPAC ambiguity codes.
    pub fn rna() -> Self {
        Alphabet::nucleotides("RNA", "U")
    }

    /// `Protein`: the twenty amino acids in the order of their one-letter codes; B, Z, J and X are ambiguous.
    pub fn protein() -> Self {
        let letters = "ACDEFGHIKLMNPQRSTVWY";
        Alphabet::build("Protein", letters, &[('B', "DN"), ('Z', "EQ"), ('J', "IL"), ('X', letters)])
    }

    /// One of the alphabets that every program knows.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "DNA" => Some(Alphabet::dna()),
            "RNA" => Some(Alphabet::rna()),
            "Protein" => Some(Alphabet::protein()),
            _ => None,
        }
    }

    /// `alphabet Codon = "AAA" "AAC" ...`: letters of one's own, each of the same number of ASCII characters.
    /// Case counts here, as the letters are the user's. Errors: a sentence that says what is wrong with the letters.
    pub fn custom(name: &str, letters: &[String]) -> Result<Self, String> {
        let Some(first) = letters.first() else { return Err(format!("alphabet `{name}` has no letters")) };
        if letters.len() >= NOT_A_LETTER as usize {
            return Err(format!(
                "alphabet `{name}` has {} letters; at most {} are possible",
                letters.len(),
                NOT_A_LETTER - 1
            ));
        }
        for (index, letter) in letters.iter().enumerate() {
            if letter.is_empty() || !letter.is_ascii() {
                return Err(format!("letter {} of alphabet `{name}`, `{letter}`, must be ASCII text", index + 1));
            }
            if letter.len() != first.len() {
                return Err(format!("the letters of alphabet `{name}` differ in length: `{first}` and `{letter}`"));
            }
            if letters[..index].contains(letter) {
                return Err(format!("letter `{letter}` stands twice in alphabet `{name}`"));
            }
        }
        let mut code_of_byte = Box::new([NOT_A_LETTER; 256]);
        if first.len() == 1 {
            for (code, letter) in letters.iter().enumerate() {
                code_of_byte[letter.as_bytes()[0] as usize] = code as u8;
            }
        }
        Ok(Alphabet { name: name.into(), letters: letters.to_vec(), code_of_byte, ambiguous: vec![] })
    }

    fn nucleotides(name: &str, last: &str) -> Self {
        let codes: Vec<(char, String)> = [
            ('R', "AG"),
            ('Y', "CT"),
            ('S', "CG"),
            ('W', "AT"),
            ('K', "GT"),
            ('M', "AC"),
            ('B', "CGT"),
            ('D', "AGT"),
            ('H', "ACT"),
            ('V', "ACG"),
            ('N', "ACGT"),
        ]
        .into_iter()
        .map(|(code, set)| (code, set.replace('T', last)))
        .collect();
        let borrowed: Vec<(char, &str)> = codes.iter().map(|(code, set)| (*code, set.as_str())).collect();
        Alphabet::build(name, &format!("ACG{last}"), &borrowed)
    }

    fn build(name: &str, letters: &str, ambiguous: &[(char, &str)]) -> Self {
        let mut code_of_byte = Box::new([NOT_A_LETTER; 256]);
        let mut set = |character: char, code: usize| {
            code_of_byte[character.to_ascii_uppercase() as usize] = code as u8;
            code_of_byte[character.to_ascii_lowercase() as usize] = code as u8;
        };
        for (code, character) in letters.chars().enumerate() {
            set(character, code);
        }
        for (position, (character, _)) in ambiguous.iter().enumerate() {
            set(*character, letters.len() + position);
        }
        let members = |text: &str| text.chars().filter_map(|c| letters.find(c)).map(|at| at as u8).collect();
        Alphabet {
            name: name.into(),
            letters: letters.chars().map(String::from).collect(),
            ambiguous: ambiguous.iter().map(|(code, text)| (*code, members(text))).collect(),
            code_of_byte,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The letters in the order of their indices.
    pub fn letters(&self) -> &[String] {
        &self.letters
    }

    /// The number of letters, ambiguity codes not counted.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Never true: an alphabet has at least one letter.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Characters of text a letter takes.
    pub fn width(&self) -> usize {
        self.letters[0].len()
    }

    /// Appends the codes of a sequence to `codes`. On a fault returns the letter's position, from 0, and leaves the codes
    /// before it appended.
    pub fn encode(&self, text: &str, codes: &mut Vec<u8>) -> Result<(), LetterFault> {
        if self.width() > 1 {
            return self.encode_wide(text, codes);
        }
        codes.reserve(text.len());
        for (position, byte) in text.bytes().enumerate() {
            let code = self.code_of_byte[byte as usize];
            if code == NOT_A_LETTER {
                let found = text[position..].chars().next().unwrap_or('?');
                return Err(LetterFault { position, found: found.to_string() });
            }
            codes.push(code);
        }
        Ok(())
    }

    fn encode_wide(&self, text: &str, codes: &mut Vec<u8>) -> Result<(), LetterFault> {
        let bytes = text.as_bytes();
        for (position, chunk) in bytes.chunks(self.width()).enumerate() {
            match self.letters.iter().position(|letter| letter.as_bytes() == chunk) {
                Some(code) => codes.push(code as u8),
                None => return Err(LetterFault { position, found: String::from_utf8_lossy(chunk).into_owned() }),
            }
        }
        Ok(())
    }

    /// Is the code one letter, not a set of several?
    pub fn is_letter(&self, code: u8) -> bool {
        (code as usize) < self.letters.len()
    }

    /// The character or characters that a code is written with.
    pub fn text_of(&self, code: u8) -> String {
        match self.letters.get(code as usize) {
            Some(letter) => letter.clone(),
            None => self.ambiguous[code as usize - self.letters.len()].0.to_string(),
        }
    }

    /// The one-hot rows of all codes, one after another: letters first, then ambiguity codes with equal fractions.
    /// Shape: [codes, len()].
    pub fn one_hot_table(&self) -> Vec<f64> {
        let letters = self.len();
        let mut table = vec![0.0; (letters + self.ambiguous.len()) * letters];
        for letter in 0..letters {
            table[letter * letters + letter] = 1.0;
        }
        for (position, (_, members)) in self.ambiguous.iter().enumerate() {
            for member in members {
                table[(letters + position) * letters + *member as usize] = 1.0 / members.len() as f64;
            }
        }
        table
    }

    /// What to try when `found` is not a letter here.
    pub fn suggestion(&self, found: &str) -> String {
        let first = found.chars().next().unwrap_or(' ');
        match (self.name.as_str(), first.to_ascii_uppercase()) {
            ("DNA", 'U') => "U stands in RNA; use the alphabet `RNA`, or write T".into(),
            ("RNA", 'T') => "T stands in DNA; use the alphabet `DNA`, or write U".into(),
            ("DNA" | "RNA", 'X') => "X is not a base code; an unknown base is written N".into(),
            ("DNA" | "RNA", 'E' | 'F' | 'I' | 'L' | 'P' | 'Q' | 'Z') => {
                "this looks like a protein; use the alphabet `Protein`".into()
            }
            ("Protein", 'U') => {
                "U is selenocysteine, which is not among the twenty; write C (its nearest) or X (any)".into()
            }
            ("Protein", 'O') => {
                "O is pyrrolysine, which is not among the twenty; write K (its nearest) or X (any)".into()
            }
            ("Protein", '*') => "`*` is a stop codon; cut the protein there".into(),
            (_, '-' | '.') => "a gap cannot be encoded; remove it, or use an alphabet of your own that has it".into(),
            (_, ' ') => "remove blanks inside the sequence".into(),
            (name, _) if self.ambiguous.is_empty() => format!("the letters of `{name}` are {}", self.letters.join(" ")),
            (name, _) => {
                let codes: Vec<String> = self.ambiguous.iter().map(|(code, _)| code.to_string()).collect();
                format!("the letters of {name} are {}, the ambiguity codes {}", self.letters.join(" "), codes.join(" "))
            }
        }
    }
}

/// The first thing in a sequence that is not a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterFault {
    /// Which letter, from 0.
    pub position: usize,
    pub found: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(alphabet: &Alphabet, text: &str) -> Vec<Vec<f64>> {
        let mut codes = vec![];
        alphabet.encode(text, &mut codes).expect("letters");
        let (table, width) = (alphabet.one_hot_table(), alphabet.len());
        codes.iter().map(|code| table[*code as usize * width..][..width].to_vec()).collect()
    }

    #[test]
    fn letters_and_ambiguity_codes_become_fractions() {
        assert_eq!(
            rows(&Alphabet::dna(), "AcgTnR"),
            vec![
                vec![1.0, 0.0, 0.0, 0.0],
                vec![0.0, 1.0, 0.0, 0.0],
                vec![0.0, 0.0, 1.0, 0.0],
                vec![0.0, 0.0, 0.0, 1.0],
                vec![0.25; 4],
                vec![0.5, 0.0, 0.5, 0.0],
            ]
        );
        let third = 1.0 / 3.0;
        assert_eq!(
            rows(&Alphabet::rna(), "UYB"),
            vec![vec![0.0, 0.0, 0.0, 1.0], vec![0.0, 0.5, 0.0, 0.5], vec![0.0, third, third, third],]
        );
        let protein = rows(&Alphabet::protein(), "XBZJ");
        assert_eq!(protein[0], vec![0.05; 20]);
        let half =
            |row: &[f64]| row.iter().enumerate().filter(|(_, v)| **v == 0.5).map(|(at, _)| at).collect::<Vec<_>>();
        // A C D E F G H I K L M N P Q R S T V W Y
        assert_eq!([half(&protein[1]), half(&protein[2]), half(&protein[3])], [vec![2, 11], vec![3, 13], vec![7, 9]]);
    }

    #[test]
    fn every_one_hot_row_sums_to_one() {
        for alphabet in [Alphabet::dna(), Alphabet::rna(), Alphabet::protein()] {
            for row in alphabet.one_hot_table().chunks(alphabet.len()) {
                assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{}", alphabet.name());
            }
        }
    }

    #[test]
    fn a_fault_says_where_and_what_to_try() {
        let mut codes = vec![];
        let fault = Alphabet::dna().encode("ACGUA", &mut codes);
        assert_eq!(fault, Err(LetterFault { position: 3, found: "U".into() }));
        assert!(Alphabet::dna().suggestion("U").contains("`RNA`"));
        assert!(Alphabet::rna().suggestion("t").contains("`DNA`"));
        assert!(Alphabet::protein().suggestion("*").contains("stop codon"));
        assert!(Alphabet::dna().suggestion("-").contains("gap"));
        assert!(Alphabet::dna().suggestion("@").contains("A C G T"));
    }

    #[test]
    fn custom_alphabets_may_have_wide_letters() {
        let codons: Vec<String> = ["AAA", "AAC", "TTT"].map(String::from).to_vec();
        let alphabet = Alphabet::custom("Codon", &codons).expect("valid");
        let mut codes = vec![];
        assert_eq!(alphabet.encode("AACTTT", &mut codes), Ok(()));
        assert_eq!(codes, [1, 2]);
        assert_eq!(alphabet.encode("AACGG", &mut codes), Err(LetterFault { position: 1, found: "GG".into() }));
        assert!(Alphabet::custom("A", &["x".into(), "x".into()]).is_err_and(|e| e.contains("twice")));
        assert!(Alphabet::custom("A", &["x".into(), "yy".into()]).is_err_and(|e| e.contains("length")));
        assert!(Alphabet::custom("A", &[]).is_err());
    }
}
